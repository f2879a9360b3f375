"""Peers that read slowly, or stop reading: when that is a stall, and that it costs nobody else anything."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic

import pytest

from echoserver.handlers import find_handler
from echoserver.net import kernel
from echoserver.net.transport import PlainTransport
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection
from echoserver.serving.limits import Limits, TimeLimits
from echoserver.serving.session import Session
from server.connection_kit import tcp_pair
from server.kit import PATIENCE, Peer, scripted
from server.ways import every_way, wait_for, wait_until_settled

MIB = 1024 * 1024


class NoLease:
    def fold(self, _reason: CloseReason) -> bool:
        return True

    def release(self) -> None:
        pass


@pytest.fixture
def sending() -> Iterator[tuple[Connection, Peer]]:
    """A connection in the middle of a reply that fills the kernel's buffers, and its peer, which reads on demand."""
    sock, peer = tcp_pair(receive_buffer=4096)
    connection = Connection(1, None, PlainTransport(sock), Session(find_handler("echo", {}), None), NoLease())
    connection.stats.state = ConnectionState.SENDING
    sock.setblocking(False)
    with peer:
        try:
            while True:
                connection.stats.bytes_out += sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        yield connection, peer
        connection.close()


def read_until_it_shows(connection: Connection, peer: Peer) -> None:
    """Have the peer read until the server's kernel knows that it did."""
    before = connection.taken()
    while connection.taken() == before:
        peer.read(1024)


def never_stuck(_connection: Connection) -> None:
    raise AssertionError("no handler is called")


@pytest.mark.parametrize("has_tcp_info", [True, False], ids=["TCP_INFO", "send queue"])
def test_the_write_timeout_counts_from_the_last_read(sending, monkeypatch, has_tcp_info):
    if not has_tcp_info:
        monkeypatch.setattr(kernel, "_TCP_INFO", 0)
    connection, peer = sending
    limits = Limits(idle=0, write=3, handler=0)
    judge = TimeLimits(limits, never_stuck)
    look, now = limits.look_interval, 100.0
    last_read = now
    for second in range(8):  # it reads a little, each time just before the limit
        judge.judge(connection, now, now)
        assert connection.ending is None, f"ended after {second} reads"
        read_until_it_shows(connection, peer)
        last_read, now = now, now + 2.9
    # Then it stops. From here on the janitor looks as often as it does, from the first time after the last read.
    now = last_read + look
    while connection.ending is None:
        judge.judge(connection, now, now)
        now += look
        assert now < last_read + 2 * limits.write, "it never ends"
    assert connection.ending is CloseReason.STALLED
    ended = now - look
    assert last_read + limits.write <= ended <= last_read + limits.write + 1


@pytest.mark.parametrize("has_tcp_info", [True, False], ids=["TCP_INFO", "send queue"])
def test_time_in_which_the_process_was_stopped_does_not_count(sending, monkeypatch, has_tcp_info):
    if not has_tcp_info:
        monkeypatch.setattr(kernel, "_TCP_INFO", 0)
    connection, _ = sending
    judge = TimeLimits(Limits(idle=0, write=3, handler=0), never_stuck)
    judge.judge(connection, 0, 0)
    judge.judge(connection, 1002, 2)
    assert connection.ending is None
    judge.judge(connection, 1003, 3)
    assert connection.ending is CloseReason.STALLED


def read_for_a_while(peer: Peer, seconds: float) -> float:
    """Read a little at a time; return when the last read was."""
    until = monotonic() + seconds
    while (now := monotonic()) < until:
        peer.read(1)
    return now


@every_way
@pytest.mark.parametrize("has_tcp_info", [True, False], ids=["TCP_INFO", "send queue"])
def test_a_peer_that_stops_reading_ends_a_second_after_the_limit_at_most(
    serve, connect, log, monkeypatch, dispatch, has_tcp_info
):
    if not has_tcp_info:
        monkeypatch.setattr(kernel, "_TCP_INFO", 0)
    server = serve(
        scripted(feed=lambda _: b"x" * (48 * MIB), blocking=False), dispatch=dispatch, write_timeout=0.3, idle_timeout=0
    )
    peer = connect(server, receive_buffer=4096)
    peer.send(b"?")
    stopped = read_for_a_while(peer, 0.6)  # twice the limit: a slow peer is not a stalled one
    assert log.lines("connection ended") == []
    line = log.ended(peer)
    assert line["reason"] == "stalled"
    assert monotonic() - stopped <= 1.3
    wait_until_settled(server)


@every_way
@pytest.mark.parametrize("reply", ["bytes", "pieces"])
def test_the_longest_life_ends_a_reply_that_is_never_read(serve, connect, log, dispatch, reply):
    script: dict[str, Callable[[bytes], object]] = {
        "bytes": lambda _: b"x" * (48 * MIB),
        "pieces": lambda _: (b"x" * (48 * MIB) for _ in range(2)),
    }
    server = serve(
        scripted(feed=script[reply], blocking=False),
        dispatch=dispatch,
        write_timeout=0,
        idle_timeout=0,
        max_lifetime=0.2,
    )
    begun = monotonic()
    peer = connect(server)
    peer.send(b"?")
    line = log.ended(peer)
    assert line["reason"] == "expired"
    assert 0.2 <= monotonic() - begun <= 1.2
    wait_until_settled(server)


@every_way
def test_the_longest_life_ends_an_echo_that_is_never_read(serve, connect, log, dispatch):
    server = serve(dispatch=dispatch, write_timeout=0, idle_timeout=0, max_lifetime=0.2)
    peer = connect(server)
    begun = monotonic()
    try:
        peer.send(b"x" * (48 * MIB))
    except ConnectionError:
        pass
    assert log.ended(peer)["reason"] == "expired"
    assert monotonic() - begun <= 1.5


@every_way
def test_peers_that_stall_in_bulk_keep_no_pipe(serve, connect, dispatch):
    server = serve(dispatch=dispatch, workers=16, write_timeout=0)
    if server._pipes is None:
        pytest.skip("this platform has no splice(2)")
    stalled = [connect(server, receive_buffer=4096) for _ in range(10)]
    for peer in stalled:
        peer.send(b"hello")
        assert peer.read(5) == b"hello"
    bulk = b"x" * (16 * MIB)

    def is_stalled(connection: Connection, peer: Peer) -> bool:
        """Fill the kernel's buffers; return whether the server receives nothing more because it cannot send."""
        fits = peer.send_what_fits(bulk)
        return not fits and connection.arrived() > 0 and connection.stats.state == ConnectionState.SENDING

    for pair in zip(server.connections(), stalled, strict=True):
        wait_for(lambda pair=pair: is_stalled(*pair), "the server goes on receiving")

    def borrow_all() -> bool:
        pipes = [server._pipes.borrow() for _ in range(8)]
        with ExitStack() as loans:
            for pipe in pipes:
                if pipe is not None:
                    loans.callback(server._pipes.give_back, pipe, empty=True)
            return None not in pipes

    wait_for(borrow_all, "a peer that does not read keeps a pipe")
    with socket.create_connection(server.address, PATIENCE) as ninth:
        ninth.sendall(b"y" * 200_000)
        left = 200_000
        while left:
            left -= len(ninth.recv(left))
    for peer in stalled:
        peer.reset()
    wait_until_settled(server)
