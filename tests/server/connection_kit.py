"""Connections without a server around them, and both ways to serve one to its end."""

from __future__ import annotations

import select
import socket

from echoserver.handlers import HandlerSpec, find_handler
from echoserver.net.buffer import ReceiveBuffer
from echoserver.net.splice import PipePool
from echoserver.net.transport import PlainTransport
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.blocking import BlockingDriver
from echoserver.serving.connection import Connection
from echoserver.serving.drivers import drive
from echoserver.serving.interest import Interest
from echoserver.serving.rate import TokenBucket
from echoserver.serving.session import Session
from server.kit import PATIENCE, Peer

ANY_CORE = Affinity("all", lock_bound=False)
"""For drivers that no server has started."""


class FakeLease:
    """What a connection occupies, where no server counts it."""

    def __init__(self) -> None:
        self.reasons: list[CloseReason] = []
        self.released = 0

    def enter_proxied_host(self, _host: str) -> bool:
        return True

    def fold(self, reason: CloseReason) -> bool:
        self.reasons.append(reason)
        return len(self.reasons) == 1

    def release(self) -> None:
        self.released += 1


def make_connection(
    sock: socket.socket,
    handler: HandlerSpec = "echo",
    *,
    address: object = ("127.0.0.1", 1),
    pipes: PipePool | None = None,
    bucket: TokenBucket | None = None,
    **options: object,
) -> Connection:
    session = Session(find_handler(handler, options), address)
    connection = Connection(1, "tcp://127.0.0.1:1", PlainTransport(sock), session, FakeLease())
    connection.pipes, connection.bucket = pipes, bucket
    return connection


def serve_blocking(connection: Connection) -> CloseReason:
    """Serve a connection to its end in this thread, as the threads mode does."""
    BlockingDriver(connection).serve(ReceiveBuffer(), ANY_CORE)
    return connection.reason


def serve_events(connection: Connection) -> CloseReason:
    """Serve a connection to its end, event by event, as the workers mode does."""
    connection.transport.set_blocking(False)
    poll, buffer, driver = select.poll(), ReceiveBuffer(), drive(connection)
    while (interest := driver.on_ready(buffer)) is not Interest.NOTHING:
        poll.register(connection.transport.fileno(), select.POLLIN if interest is Interest.READ else select.POLLOUT)
        assert poll.poll(PATIENCE * 1000), f"waited too long for {interest}"
    return connection.reason


def tcp_pair(*, receive_buffer: int | None = None) -> tuple[socket.socket, Peer]:
    """Return the two ends of a TCP connection: the server's, for a test to serve, and the peer's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Peer(listener.getsockname(), receive_buffer=receive_buffer)
        served, _ = listener.accept()
    return served, peer
