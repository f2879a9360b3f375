"""Replies other than bytes, through both drivers: in pieces, and the last one of a connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from echoserver.handlers import Last
from echoserver.observe.metrics import CloseReason
from server.connection_kit import make_connection
from server.kit import PATIENCE, scripted
from server.source import Source

MIB = 1024 * 1024


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


@pytest.mark.parametrize("moment", ["greet", "finish"])
def test_an_expired_connection_takes_no_further_piece(pair, background, serve_to_end, moment):
    """It is expired even if the peer had half-closed: it did not get everything."""
    served, peer = pair

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * MIB

    connection = make_connection(served, handler_with(moment, endless))
    if moment == "finish":
        peer.finish()

    def serve_and_close() -> CloseReason:
        reason = serve_to_end(connection)
        connection.close()
        return reason

    ending = background(serve_and_close)
    assert peer.read(1)
    assert connection.end(CloseReason.EXPIRED)
    peer.read_to_break()
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
