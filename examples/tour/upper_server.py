"""A threaded server that answers in upper case, in twenty lines. Its five faults are the subject of chapter 3."""

import socket
import threading

threads: list[threading.Thread] = []


def serve(listener: socket.socket) -> None:
    while True:
        peer, _ = listener.accept()
        peer.settimeout(30)
        threads.append(threading.Thread(target=talk, args=(peer,), daemon=True))
        threads[-1].start()


def talk(peer: socket.socket) -> None:
    with peer:
        while data := peer.recv(1_000_000):
            peer.send(data.decode().upper().encode())


if __name__ == "__main__":
    serve(socket.create_server(("127.0.0.1", 9000)))
