"""Replies other than bytes: those that come piece by piece, and those that end the connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from echoserver import Handler
from echoserver.handlers import Last
from echoserver.observe.metrics import CloseReason, ConnectionState
from server.connection_kit import make_connection
from server.kit import PATIENCE, Gate, scripted, wait_arrived, wait_for_state, wait_until_idle

MIB = 1024 * 1024


class Source:
    """An iterator that notes what was taken from it, and in which thread it was closed."""

    def __init__(self, *pieces: object) -> None:
        self._pieces = list(pieces)
        self.taken = 0
        self.closed_in: list[threading.Thread] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._pieces:
            raise StopIteration
        self.taken += 1
        return self._pieces.pop(0)

    def close(self) -> None:
        self.closed_in.append(threading.current_thread())


MOMENTS = pytest.mark.parametrize("moment", ["greet", "feed", "finish"])


def handler_with(moment: str, make_reply, **others):
    """Return a handler that makes this reply at one moment and is silent otherwise."""
    silent = {"greet": lambda: b"", "feed": lambda _: b"", "finish": lambda: b""}
    return scripted(**{**silent, **others, moment: lambda *_: make_reply()})


@MOMENTS
@pytest.mark.parametrize(
    "pieces",
    [
        [b"one ", b"two ", b"three"],
        [b"", b"one", b"", bytearray(b" two"), memoryview(b" three"), b""],
        [b"x" * 3 * MIB, b"y" * 3 * MIB],
        [b"%d " % number for number in range(1000)],
    ],
    ids=["few", "empty", "large", "many"],
)
def test_all_pieces_arrive_in_order_and_count_as_one_reply(pair, background, serve_to_end, moment, pieces):
    served, peer = pair
    source = Source(*pieces)
    connection = make_connection(served, handler_with(moment, lambda: source))
    ending = background(serve_to_end, connection)
    peer.send(b"?")
    peer.finish()
    expected = b"".join(bytes(piece) for piece in pieces)
    assert peer.read(len(expected)) == expected
    assert ending.result(PATIENCE) is CloseReason.EOF
    assert (connection.stats.replies, connection.stats.bytes_out) == (1, len(expected))
    assert len(source.closed_in) == 1


@MOMENTS
@pytest.mark.parametrize("text", [b"", b"goodbye", b"x" * (6 * MIB)], ids=len)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_nothing_follows_the_last_reply(pair, background, serve_to_end, moment, text, in_pieces):
    """A peer that ended first has ended the connection, whatever `finish` returns."""
    served, peer = pair
    finished = []

    def reply() -> object:
        return Source(b"first ", Last(text), b"never") if in_pieces else Last(text)

    others = {} if moment == "finish" else {"finish": lambda: finished.append(1) or b"never"}
    connection = make_connection(served, handler_with(moment, reply, **others))
    ending = background(serve_to_end, connection)
    peer.send(b"?")
    if moment == "finish":
        peer.finish()
    expected = (b"first " if in_pieces else b"") + text
    assert peer.read(len(expected)) == expected
    assert ending.result(PATIENCE) is (CloseReason.EOF if moment == "finish" else CloseReason.FINISHED)
    assert connection.stats.bytes_out == len(expected)
    assert connection.stats.replies == (1 if expected else 0)
    assert finished == []


def test_the_next_piece_is_taken_when_the_peer_has_accepted_the_one_before(pair, background, serve_to_end):
    served, peer = pair
    source = Source(*[bytes(8 * MIB)] * 3)
    connection = make_connection(served, handler_with("greet", lambda: source))
    ending = background(serve_to_end, connection)
    assert peer.read(1)
    assert source.taken == 1  # the kernels hold far less than one piece
    assert peer.read(24 * MIB - 1)
    peer.finish()
    assert ending.result(PATIENCE) is CloseReason.EOF


@MOMENTS
@pytest.mark.parametrize("wrong", [None, "text", 7])
def test_a_piece_that_is_not_bytes_is_a_handler_error(pair, background, serve_to_end, moment, wrong):
    served, peer = pair
    source = Source(b"good", wrong)
    connection = make_connection(served, handler_with(moment, lambda: source))
    ending = background(serve_to_end, connection)
    peer.send(b"?")
    peer.finish()
    assert peer.read(4) == b"good"
    assert ending.result(PATIENCE) is CloseReason.HANDLER
    assert type(connection.error) is TypeError
    assert "the handler yielded" in str(connection.error)
    assert len(source.closed_in) == 1


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), ConnectionResetError()], ids=repr
)
def test_whatever_an_iterator_raises_is_a_handler_error(pair, background, serve_to_end, error):
    served, peer = pair

    def pieces() -> Iterator[bytes]:
        yield b"good"
        raise error

    connection = make_connection(served, handler_with("feed", pieces))
    ending = background(serve_to_end, connection)
    peer.send(b"?")
    assert peer.read(4) == b"good"
    assert ending.result(PATIENCE) is CloseReason.HANDLER
    assert connection.error is error


def test_a_generator_that_fails_as_it_is_closed_is_a_handler_error(pair, background, serve_to_end):
    served, peer = pair

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(MIB)
        finally:
            raise ValueError("in the finally block")

    connection = make_connection(served, handler_with("greet", pieces))
    ending = background(serve_to_end, connection)
    assert peer.read(1)
    connection.end(CloseReason.CUT)
    assert ending.result(PATIENCE) is CloseReason.HANDLER
    assert str(connection.error) == "in the finally block"


@pytest.mark.parametrize("reason", [CloseReason.CUT, CloseReason.STALLED, CloseReason.KILLED])
def test_an_abrupt_end_closes_an_endless_iterator(pair, background, serve_to_end, reason):
    served, peer = pair
    source = Source(*[bytes(MIB)] * 100)
    connection = make_connection(served, handler_with("greet", lambda: source))
    ending = background(serve_to_end, connection)
    assert peer.read(1)
    assert connection.end(reason)
    assert ending.result(PATIENCE) is reason
    assert len(source.closed_in) == 1
    assert source.taken < 100


def test_an_expired_connection_takes_no_further_piece(pair, background, serve_to_end):
    served, peer = pair

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * MIB

    connection = make_connection(served, handler_with("greet", endless))
    ending = background(serve_to_end, connection)
    assert peer.read(1)
    assert connection.end(CloseReason.EXPIRED)
    while not ending.done():
        peer.sock.recv(MIB)
    assert ending.result(PATIENCE) is CloseReason.EXPIRED


def test_a_drain_sends_all_pieces_of_a_reply_under_way(pair, background, serve_to_end):
    served, peer = pair
    connection = make_connection(
        served, handler_with("greet", lambda: Source(*[b"x" * MIB] * 8, b"."), finish=lambda: b"!")
    )
    ending = background(serve_to_end, connection)
    assert peer.read(1) == b"x"
    assert connection.end(CloseReason.DRAINED)
    assert peer.read(8 * MIB + 1) == b"x" * (8 * MIB - 1) + b".!"
    assert ending.result(PATIENCE) is CloseReason.DRAINED


# -- the server


@pytest.fixture
def mode() -> str:
    return "threads"  # the options of `way` override it


def blocks(way: dict[str, object]) -> bool:
    """Return whether the handler has to say that it may block, so that it is not served by the poller."""
    return way["mode"] == "threads" or way.get("dispatch") == "queue"


def test_the_last_reply_arrives_although_the_peer_sends_on(serve, connect, log, way):
    reply = b"r" * (2 * MIB)
    server = serve(scripted(feed=lambda _: Last(reply), blocking=blocks(way)), **way)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"r"
    peer.send_what_fits(b"!" * MIB)
    assert 1 + len(peer.read_to_break()) == len(reply)
    line = log.ended(peer)
    assert (line["reason"], line["bytes_out"], line["level"]) == ("finished", len(reply), "info")
    wait_until_idle(server)
    assert server.stats().closed["finished"] == 1


def test_an_iterator_is_closed_in_the_thread_that_serves(serve, connect, way):
    sources = []

    class Streaming(Handler):
        blocking = blocks(way)

        def feed(self, _: bytes) -> Iterator[bytes]:
            sources.append(Source(b"a", b"b"))
            return sources[-1]

    server = serve(Streaming, **way)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(2) == b"ab"
    peer.finish()
    assert peer.read_to_end() == b""
    (source,) = sources
    (thread,) = source.closed_in
    assert server._mode.serves_in(thread)


def test_an_endless_reply_does_not_keep_the_thread_from_other_peers(serve, connect, way):
    """In workers mode one event sends a limited part of it."""

    class Endless(Handler):
        blocking = blocks(way)

        def feed(self, data: bytes) -> bytes | Iterator[bytes]:
            return data if data == b"hello" else iter(lambda: b"x" * 1000, None)

    server = serve(Endless, **{**way, "workers": 1})
    greedy, other = connect(server), connect(server)
    greedy.send(b"?")
    greedy.read(100_000)
    for _ in range(5):
        assert other.exchange(b"hello") == b"hello"
        greedy.read(100_000)
    assert server.stop(timeout=0.1) == [f"1 {greedy.name}"]


def test_a_stalled_peer_ends_a_reply_in_pieces(serve, connect, log, way):
    gone = threading.Event()

    def pieces(_: bytes) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            gone.set()

    server = serve(scripted(feed=pieces, blocking=blocks(way)), write_timeout=0.1, **way)
    peer = connect(server)
    peer.send(b"?")
    assert log.ended(peer)["reason"] == "stalled"
    assert gone.wait(PATIENCE)


def test_what_arrives_during_a_reply_in_pieces_is_answered_after_it(serve, connect, way):
    gate = Gate()

    class Slow(Handler):
        blocking = True

        def feed(self, data: bytes) -> bytes | Iterator[bytes]:
            return self.pieces() if data == b"1" else data

        def pieces(self) -> Iterator[bytes]:
            yield b"a"
            yield gate(b"b")

    server = serve(Slow, mode=way["mode"], queue_order=way.get("queue_order", "fifo"))
    try:
        peer = connect(server)
        peer.send(b"1")
        gate.wait_entered()
        connection = wait_for_state(server, ConnectionState.HANDLING)
        peer.send(b"2")
        wait_arrived(connection)
    finally:
        gate.open()
    assert peer.read(3) == b"ab2"
