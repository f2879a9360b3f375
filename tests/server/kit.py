"""What the server's tests share: peers with deadlines, handlers that wait for the test, and ways to wait for a server.

Nothing here sleeps. A test waits for what the server does: a reply, the end of the stream, an event. `PATIENCE` only
limits how long a defect can make it wait.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from select import select

from echoserver import Handler, Server
from echoserver.clock import Deadline
from echoserver.observe.metrics import ConnectionState
from echoserver.serving.connection import Connection

PATIENCE = 10.0


class Peer:
    """The client's end of one connection. Every step has a deadline."""

    def __init__(
        self, address: tuple[str, int] | str, *, receive_buffer: int | None = None, source: str | None = None
    ) -> None:
        """Connect to an address, or the path of a unix socket, from an address of this machine.

        With a small receive buffer the server's kernel notices soon whether this peer reads. On a unix socket it has no
        effect: there the sender's buffer alone counts.
        """
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(PATIENCE)
            if receive_buffer is not None:
                # Before the connect, which negotiates the window scale.
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                self.sock.bind((source, 0))
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise
        if isinstance(address, str):
            self.name = f"pid={os.getpid()},uid={os.getuid()}"
        else:
            self.name = "{}:{}".format(*self.sock.getsockname()[:2])
        """How the server's log shows this peer; over a unix socket all peers of this process are the same."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_what_fits(self, data: bytes) -> int:
        """Send until the kernels of both sides accept no more; return how many bytes that was."""
        self.sock.setblocking(False)
        sent = 0
        try:
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + 65536])
        except (BlockingIOError, BrokenPipeError):  # the latter if the server's end of a unix socket reads no more
            pass
        finally:
            self.sock.settimeout(PATIENCE)
        return sent

    def finish(self) -> None:
        """Half-close: no more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes."""
        got = bytearray()
        while len(got) < count:
            data = self.sock.recv(min(65536, count - len(got)))
            assert data, f"end of the stream after {len(got)} of {count} bytes"
            got += data
        return bytes(got)

    def read_to_end(self) -> bytes:
        """Return everything up to an orderly end of the stream."""
        got = bytearray()
        while data := self.sock.recv(65536):
            got += data
        return bytes(got)

    def read_to_break(self) -> bytes:
        """Return everything up to the end of the stream, however it comes."""
        got = bytearray()
        try:
            while data := self.sock.recv(65536):
                got += data
        except (ConnectionResetError, BrokenPipeError):
            pass
        return bytes(got)

    def exchange(self, data: bytes) -> bytes:
        """Send a message and return a reply of the same length."""
        self.send(data)
        return self.read(len(data))

    def swap(self, data: bytes) -> bytes:
        """Send all of it and half-close, and meanwhile read to the end of the stream, as `cat file | nc` does."""
        got = bytearray()
        rest = memoryview(data)
        self.sock.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while True:
                events = selector.select(PATIENCE)
                assert events, f"nothing moved: {len(rest)} bytes to send, {len(got)} received"
                if events[0][1] & selectors.EVENT_WRITE:
                    if rest:
                        rest = rest[self.sock.send(rest[:262144]) :]
                    else:
                        self.finish()
                        selector.modify(self.sock, selectors.EVENT_READ)
                if events[0][1] & selectors.EVENT_READ:
                    if not (piece := self.sock.recv(262144)):
                        return bytes(got)
                    got += piece

    def flood(self, pattern: bytes) -> bytes:
        """Send a pattern over and over, and read, until the server ends the connection; return what was read."""
        got = bytearray()
        block, sent, sending = pattern * (65536 // len(pattern)), 0, True
        self.sock.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while True:
                events = selector.select(PATIENCE)
                assert events, f"nothing moved: {sent} bytes sent, {len(got)} received"
                try:
                    if sending and events[0][1] & selectors.EVENT_WRITE:
                        sent += self.sock.send(block[sent % len(pattern) :])
                except ConnectionError:
                    sending = False
                    selector.modify(self.sock, selectors.EVENT_READ)
                try:
                    if events[0][1] & selectors.EVENT_READ:
                        if not (piece := self.sock.recv(262144)):
                            return bytes(got)
                        got += piece
                except ConnectionError:
                    return bytes(got)

    def reset(self) -> None:
        """Reset the connection, without an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.sock.close()


class Gate:
    """A handler function that reports each call and does not return before the test opens the gate; it echoes."""

    def __init__(self) -> None:
        self._entered = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, data: bytes) -> bytes:
        self._entered.release()
        assert self._open.wait(PATIENCE), "the test never opened the gate"
        return data

    def wait_entered(self, times: int = 1) -> None:
        """Wait for this many more calls of the function."""
        for _ in range(times):
            assert self._entered.acquire(timeout=PATIENCE), "the function was not called"

    def open(self) -> None:
        """Have all calls return, now and later."""
        self._open.set()


def scripted(
    *,
    feed: Callable[[bytes], object] = lambda data: data,
    greet: Callable[[], object] = lambda: b"",
    finish: Callable[[], object] = lambda: b"",
    blocking: bool = True,
) -> type[Handler]:
    """Return a handler class whose methods call these functions and return whatever they return."""
    is_blocking = blocking

    class Scripted(Handler):
        blocking = is_blocking

        def greet(self) -> bytes:
            return greet()  # type: ignore[return-value]

        def feed(self, data: bytes) -> bytes:
            return feed(data)  # type: ignore[return-value]

        def finish(self) -> bytes:
            return finish()  # type: ignore[return-value]

    return Scripted


def where(server: Server) -> tuple[str, int] | str:
    """Return where a peer finds the server: its first TCP address, or the path of its first unix socket."""
    if server.addresses:
        return server.addresses[0]
    return server.endpoints[0].removeprefix("unix:").partition("?")[0]


def wait_until_idle(server: Server) -> None:
    """Wait until every connection has ended, and has been counted and logged."""
    assert server._registry.wait_empty(Deadline(PATIENCE)), f"still open: {server.connections()}"


def wait_until_gone(server: Server) -> None:
    """Wait until the threads have ended that `stop` left behind in a handler, which has returned since."""
    for thread in threading.enumerate():
        if server._mode.serves_in(thread):
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} does not end"


def wait_until_free(server: Server) -> None:
    """Wait until every place is free again, shortly after the connections have ended. No event tells of it."""
    deadline = Deadline(PATIENCE)
    while server._admission.places.free < server.config.max_connections:
        assert not deadline.expired, "a place was lost"


def wait_arrived(connection: Connection, count: int = 0) -> None:
    """Wait until something has arrived for the server to receive, and at least `count` bytes of it."""
    deadline = Deadline(PATIENCE)
    while True:
        readable, _, _ = select([connection.transport.fileno()], [], [], deadline.remaining())
        assert readable, "nothing arrived"
        if connection.arrived() >= count:
            return


def drain_begun(server: Server) -> threading.Event:
    """Return an event that is set once `stop` has asked every connection to end and begins to wait for that."""
    begun = threading.Event()
    wait_empty = server._registry.wait_empty

    def watched(deadline: Deadline) -> bool:
        begun.set()
        return wait_empty(deadline)

    server._registry.wait_empty = watched  # type: ignore[method-assign]
    return begun


def serves_on(connect: Callable[[Server], Peer], server: Server) -> bool:
    """Return whether a new peer is served."""
    return connect(server).swap(b"still here") == b"still here"


def wait_for_state(server: Server, state: ConnectionState) -> Connection:
    """Wait until the only connection is in a state. No event tells of it, so this polls."""
    deadline = Deadline(PATIENCE)
    while not deadline.expired:
        for connection in server.connections():
            if connection.stats.state == state:
                return connection
    raise AssertionError(f"never {state.name.lower()}: {server.connections()}")
