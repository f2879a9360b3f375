"""The solution of chapter 3: the twenty lines without three of their faults.

A crowd and the end need more than a line each: see `Admission` and `Server.stop` in the server.
"""

import codecs
import socket
import threading


def serve(listener: socket.socket) -> None:
    """Give each peer a thread, and keep none: a thread that runs is kept alive by the interpreter."""
    while True:
        peer, _ = listener.accept()
        peer.settimeout(30)
        threading.Thread(target=talk, args=(peer,), daemon=True).start()


def talk(peer: socket.socket) -> None:
    """Answer one peer. The decoder keeps an unfinished character, and `sendall` sends until nothing is left."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with peer:
        while data := peer.recv(1_000_000):
            peer.sendall(decoder.decode(data).upper().encode())
