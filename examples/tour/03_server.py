"""Chapter 3: a server. What does a thread for each client give, and what is missing then?

The twenty lines of upper_server.py serve two clients at once. Then five faults are provoked, there and in echoserver.
"""

import logging
import socket
import threading
import time

import upper_server
from timeline import Timeline, main
from upper_faults import Address, close, listen, provoke


def two_clients(address: Address) -> None:
    line, both = Timeline(), threading.Barrier(2, timeout=10)

    def client(*words: str) -> None:
        with socket.create_connection(address, timeout=10) as peer:
            for word in words:
                with line.doing(f"thinks of {word}"):
                    time.sleep(0.1)
                peer.sendall(word.encode())
                line.say(f"sent {word}, received {peer.recv(100).decode()}")
                both.wait()  # neither goes on before the other has its reply

    clients = [threading.Thread(target=client, args=two, name=two[0]) for two in (("anna", "bye"), ("ben", "ciao"))]
    for thread in clients:
        thread.start()
    for thread in clients + upper_server.threads:
        thread.join()
    line.show("Two clients at once")


def twenty_lines(listener: socket.socket, accepting: threading.Thread) -> None:
    line = Timeline()
    threading.excepthook = lambda args: line.say(f"ended by {args.exc_type.__name__}")
    provoke(line, listener.getsockname(), kept=lambda: len(upper_server.threads))
    for thread in upper_server.threads:  # their peers are gone
        thread.join()
    with socket.create_connection(listener.getsockname()) as peer:
        peer.sendall(b"last words")
        peer.recv(100)
        serving = upper_server.threads[-1]
        close(listener)
        accepting.join()
        line.say(f"no end: the listener is closed, and {serving.name} {'goes on' if serving.is_alive() else 'ended'}")
    line.show("The faults of the twenty lines")


def product() -> None:
    try:
        from echoserver import Server, ServerConfig
    except ImportError:
        Timeline().say("echoserver is not installed here: `make tour CHAPTER=3` installs it")
        return
    line = Timeline()
    logging.getLogger("echoserver").setLevel(logging.ERROR)
    config = ServerConfig(handler="upper", handler_options={"encoding": "utf-8"}, max_connections=8, at_limit="reject")
    with Server(config, listeners=[listen()]) as server, socket.create_connection(server.address) as peer:
        provoke(line, server.address, kept=lambda: sum(t.name.startswith("conn-") for t in threading.enumerate()))
        peer.sendall(b"last words")
        server.stop()
        line.say(f"no end: after stop() the peer has its reply, {peer.recv(100).decode()}")
    line.show("The same done to echoserver")


def run() -> None:
    listener = listen()
    accepting = threading.Thread(target=upper_server.serve, args=(listener,), name="accept loop")
    accepting.start()
    two_clients(listener.getsockname())
    twenty_lines(listener, accepting)
    product()


if __name__ == "__main__":
    main(run)
