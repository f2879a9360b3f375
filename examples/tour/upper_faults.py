"""What provokes the faults of upper_server.py, for chapter 3. The same is done to any server."""

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from timeline import Timeline

Address = tuple[str, int]
PATIENCE = 10.0


def listen() -> socket.socket:
    """Return a listening socket whose connections can store little of a reply, as if their peers were slow."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listener


def close(listener: socket.socket) -> None:
    """Close a listening socket. A thread that is in its `accept` doesn't notice before another client comes."""
    address = listener.getsockname()
    listener.close()
    with suppress(OSError):  # there is no such thread
        socket.create_connection(address, PATIENCE).close()


def exchange(address: Address, data: bytes) -> bytes:
    """Send, say that this was all, and return the whole reply."""
    with socket.create_connection(address, PATIENCE) as peer:

        def send() -> None:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        reply = b"".join(iter(lambda: peer.recv(65536), b""))
        sender.join()
    return reply


def long_reply(address: Address) -> str:
    """Ask for a reply that doesn't fit into the send buffer."""
    return f"{len(exchange(address, b'x' * 300_000)):,} of 300,000 bytes arrive"


def split_character(address: Address) -> str:
    """Send a character of two bytes in two pieces, and the second one when the first has been received."""
    with socket.create_connection(address, PATIENCE) as peer:
        first, second = "é".encode()[:1], "é".encode()[1:]
        peer.sendall(b"caf" + first)
        reply = peer.recv(100)
        if not reply:
            return "the connection ends without a reply"
        peer.sendall(second)
        return f"the reply is {(reply + peer.recv(100)).decode()}"


def short_visits(address: Address) -> None:
    """Have twenty short conversations, one after the other."""
    for _ in range(20):
        exchange(address, b"hello")


def crowd(address: Address) -> str:
    """Let thirty peers connect and stay."""
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(30)]
        answered = 0
        for peer in peers:
            try:
                peer.sendall(b"a")
                answered += peer.recv(100) == b"A"
            except OSError:  # the server has closed this one
                pass
        return f"{answered} of 30 peers are served at the same time"


def provoke(line: Timeline, address: Address, kept: Callable[[], int]) -> None:
    """Provoke four of the faults, and say what came of it. `kept` tells how many threads the server keeps."""
    with line.doing("a long reply"):
        line.say(f"reply cut: {long_reply(address)}")
    with line.doing("half a character"):
        line.say(f"UTF-8 split: {split_character(address)}")
    with line.doing("short visits"):
        short_visits(address)
        line.say(f"thread leak: after 20 visits the server keeps {kept()} threads")
    with line.doing("a crowd"):
        line.say(f"no limit: {crowd(address)}")
