"""Serving does not depend on how the network cuts a stream into pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from echoserver.handlers import HandlerSpec
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from server.connection_kit import make_connection, serve_blocking


class CutUpSocket:
    """A socket that returns a stream in given pieces, and that takes replies in pieces too."""

    def __init__(self, pieces: list[bytes], takes: Iterator[int]) -> None:
        self._pieces = pieces
        self._takes = takes
        self.sent = bytearray()

    def fileno(self) -> int:
        return -1

    def recv(self, limit: int, _flags: int = 0) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        assert len(piece) <= limit
        return piece

    def recv_into(self, memory: memoryview) -> int:
        piece = self.recv(len(memory))
        memory[: len(piece)] = piece
        return len(piece)

    def send(self, data: bytes | memoryview) -> int:
        count = next(self._takes, len(data))
        if count == 0:
            raise BlockingIOError
        self.sent += data[:count]
        return min(count, len(data))


streams = st.lists(st.binary(min_size=1, max_size=40), max_size=12)
takes = st.lists(st.integers(min_value=1, max_value=7), max_size=30)
texts = st.lists(st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")), max_size=6)


def through_blocking(handler: HandlerSpec, pieces: list[bytes], takes: list[int], **options: object) -> bytes:
    sock = CutUpSocket([piece for piece in pieces if piece], iter(takes))
    connection = make_connection(sock, handler, **options)  # type: ignore[arg-type]
    assert serve_blocking(connection) is CloseReason.EOF
    total = sum(len(piece) for piece in pieces)
    assert (connection.stats.bytes_in, connection.stats.bytes_out) == (total, len(sock.sent))
    return bytes(sock.sent)


def through_events(handler: HandlerSpec, pieces: list[bytes], takes: list[int], **options: object) -> bytes:
    sock = CutUpSocket([piece for piece in pieces if piece], iter(takes))
    connection = make_connection(sock, handler, **options)  # type: ignore[arg-type]
    driver, buffer = NonBlockingDriver(connection), ReceiveBuffer()
    while driver.on_ready(buffer) is not Interest.NOTHING:
        pass
    assert connection.reason is CloseReason.EOF
    total = sum(len(piece) for piece in pieces)
    assert (connection.stats.bytes_in, connection.stats.bytes_out) == (total, len(sock.sent))
    return bytes(sock.sent)


def cut_up(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    return [whole[start:end] for start, end in itertools.pairwise(places)]


@given(streams, takes)
def test_echo_does_not_depend_on_how_the_stream_is_cut(pieces, takes):
    whole = b"".join(pieces)
    assert through_blocking("echo", pieces, takes) == whole
    assert through_events("echo", pieces, [*takes, 0, *takes]) == whole


@given(streams, takes)
def test_upper_does_not_depend_on_how_the_stream_is_cut(pieces, takes):
    whole = b"".join(pieces)
    assert through_blocking("upper", pieces, takes) == whole.upper()
    assert through_events("upper", pieces, [0, *takes, 0, 0, *takes]) == whole.upper()


@given(st.one_of(texts.map(b"".join), st.binary(max_size=60)), st.lists(st.integers(0, 100), max_size=20), takes)
def test_upper_in_utf_8_does_not_depend_on_how_the_stream_is_cut(whole, cuts, takes):
    expected = whole.decode("utf-8", "surrogateescape").upper().encode("utf-8", "surrogateescape")
    assert through_blocking("upper", cut_up(whole, cuts), takes, encoding="utf-8") == expected
    assert through_events("upper", cut_up(whole, cuts), [*takes, 0], encoding="utf-8") == expected


@given(st.lists(streams, max_size=4), takes)
def test_a_reply_in_pieces_does_not_depend_on_how_much_is_taken_at_once(replies, takes):
    """Each message has its own pieces, some of them empty."""
    waiting = [b"%d" % number for number in range(len(replies))]
    expected = b"".join(b"".join(pieces) for pieces in replies)

    def answer(data: bytes) -> Iterator[bytes]:
        return iter([b"", *replies[int(data)]])

    assert through_blocking(answer, list(waiting), takes) == expected
    assert through_events(answer, list(waiting), [*takes, 0, *takes]) == expected


@given(streams)
def test_only_replies_with_bytes_are_counted(pieces):
    sock = CutUpSocket(list(pieces), iter(()))
    connection = make_connection(sock, lambda data: data if data[0] % 2 else b"")  # type: ignore[arg-type]
    serve_blocking(connection)
    assert connection.stats.replies == sum(1 for piece in pieces if piece[0] % 2)
