"""One connection by itself, without a server around it: every byte's way, and how it is told to end."""

from __future__ import annotations

import itertools
import select
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.handlers import HandlerSpec, find_handler
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.blocking import BlockingConnection
from echoserver.serving.nonblocking import NonBlockingConnection, Wants
from server.kit import ANY_CORE, PATIENCE, Gate, Peer, scripted, tcp_pair, wait_arrived

MIB = 1024 * 1024
BUFFER = ReceiveBuffer()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Peer]]:
    served, peer = tcp_pair()
    with served, peer:
        yield served, peer


def connection_on(sock: socket.socket, handler: HandlerSpec = "echo", **options: object) -> BlockingConnection:
    return BlockingConnection(1, sock, ("127.0.0.1", 1), find_handler(handler, options))


def turns_on(sock: socket.socket, handler: HandlerSpec = "echo", **options: object) -> NonBlockingConnection:
    return NonBlockingConnection(1, sock, ("127.0.0.1", 1), find_handler(handler, options))


def serve(connection: BlockingConnection) -> CloseReason:
    return connection.serve(ReceiveBuffer(), ANY_CORE)


def all_turns(connection: NonBlockingConnection, descriptor: socket.socket) -> CloseReason:
    """Serve a connection turn by turn, as the workers mode does."""
    descriptor.setblocking(False)
    poll, buffer = select.poll(), ReceiveBuffer()
    wants = connection.turn(buffer)
    while wants is not Wants.NOTHING:
        poll.register(descriptor, select.POLLIN if wants is Wants.READ else select.POLLOUT)
        assert poll.poll(PATIENCE * 1000), f"nothing came of {wants}"
        wants = connection.turn(buffer)
    return connection.reason


class Serving:
    """One of the two ways of serving a connection to its end: `serving(connection, its_socket)`."""

    def __init__(self, *, blocking: bool) -> None:
        self._blocking = blocking
        self.connection_on = connection_on if blocking else turns_on

    def __call__(self, connection, descriptor: socket.socket) -> CloseReason:
        return serve(connection) if self._blocking else all_turns(connection, descriptor)


@pytest.fixture(params=["serve", "turn"])
def serving(request: pytest.FixtureRequest) -> Serving:
    return Serving(blocking=request.param == "serve")


# -- arbitrary splits


class Pieces:
    """A socket that gives out a stream in the pieces it was told to, and takes replies in pieces too."""

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


def through(handler: HandlerSpec, pieces: list[bytes], takes: list[int], **options: object) -> bytes:
    sock = Pieces([piece for piece in pieces if piece], iter(takes))
    connection = connection_on(sock, handler, **options)  # type: ignore[arg-type]
    assert serve(connection) is CloseReason.EOF
    total = sum(len(piece) for piece in pieces)
    assert (connection.stats.bytes_in, connection.stats.bytes_out) == (total, len(sock.sent))
    return bytes(sock.sent)


def through_turns(handler: HandlerSpec, pieces: list[bytes], takes: list[int], **options: object) -> bytes:
    sock = Pieces([piece for piece in pieces if piece], iter(takes))
    connection, buffer = turns_on(sock, handler, **options), ReceiveBuffer()  # type: ignore[arg-type]
    while connection.turn(buffer) is not Wants.NOTHING:
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
    assert through("echo", pieces, takes) == whole
    assert through_turns("echo", pieces, [*takes, 0, *takes]) == whole


@given(streams, takes)
def test_upper_does_not_depend_on_how_the_stream_is_cut(pieces, takes):
    whole = b"".join(pieces)
    assert through("upper", pieces, takes) == whole.upper()
    assert through_turns("upper", pieces, [0, *takes, 0, 0, *takes]) == whole.upper()


@given(st.one_of(texts.map(b"".join), st.binary(max_size=60)), st.lists(st.integers(0, 100), max_size=20), takes)
def test_upper_in_utf_8_does_not_depend_on_how_the_stream_is_cut(whole, cuts, takes):
    expected = whole.decode("utf-8", "surrogateescape").upper().encode("utf-8", "surrogateescape")
    assert through("upper", cut_up(whole, cuts), takes, encoding="utf-8") == expected
    assert through_turns("upper", cut_up(whole, cuts), [*takes, 0], encoding="utf-8") == expected


@given(streams)
def test_replies_are_counted_as_they_are_given(pieces):
    sock = Pieces(list(pieces), iter(()))
    connection = connection_on(sock, lambda data: data if data[0] % 2 else b"")  # type: ignore[arg-type]
    serve(connection)
    assert connection.stats.replies == sum(1 for piece in pieces if piece[0] % 2)


# -- being told to end


@pytest.mark.parametrize("first", [CloseReason.IDLE, CloseReason.DRAINED])
def test_the_first_reason_stands_unless_a_harsher_one_comes(pair, first):
    connection = connection_on(pair[0])
    assert connection.end(first) is True
    assert connection.ending is first
    for same in (CloseReason.IDLE, CloseReason.DRAINED):
        assert connection.end(same) is False
        assert connection.ending is first
    assert connection.end(CloseReason.STALLED) is True
    assert connection.end(CloseReason.KILLED) is False
    assert connection.end(CloseReason.CUT) is True
    assert connection.end(CloseReason.CUT) is False
    for milder in (CloseReason.IDLE, CloseReason.DRAINED, CloseReason.STALLED, CloseReason.KILLED):
        assert connection.end(milder) is False
    assert connection.ending is CloseReason.CUT


def test_one_thread_ends_it_and_the_others_are_told_so(pair, background):
    connection, together = connection_on(pair[0]), threading.Barrier(8)

    def end() -> bool:
        together.wait(PATIENCE)
        return connection.end(CloseReason.DRAINED)

    assert sorted(future.result(PATIENCE) for future in [background(end) for _ in range(8)]) == [False] * 7 + [True]


@pytest.mark.parametrize("reason", [CloseReason.DRAINED, CloseReason.STALLED, CloseReason.CUT])
def test_a_closed_connection_is_ended_no_more(pair, reason):
    connection = connection_on(pair[0])
    connection.close()
    assert connection.closed
    assert connection.fileno() == -1
    assert connection.end(reason) is False
    assert connection.unacknowledged() == connection.acknowledged() == 0


@pytest.mark.parametrize(
    "reason", [CloseReason.IDLE, CloseReason.DRAINED, CloseReason.STALLED, CloseReason.KILLED, CloseReason.CUT]
)
def test_a_receive_that_waits_is_woken(pair, background, serving, reason):
    served, peer = pair
    connection = serving.connection_on(served, scripted(greet=lambda: b"!"))
    ending = background(serving, connection, served)
    assert peer.read(1) == b"!"
    assert connection.end(reason)
    assert ending.result(PATIENCE) is reason
    assert connection.error is None


@pytest.mark.parametrize("reason", [CloseReason.STALLED, CloseReason.KILLED, CloseReason.CUT])
def test_a_send_that_waits_is_woken_by_an_abrupt_reason(pair, background, serving, reason):
    served, peer = pair
    connection = serving.connection_on(served, lambda _: b"x" * (12 * MIB))
    ending = background(serving, connection, served)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    assert connection.end(reason)
    assert ending.result(PATIENCE) is reason
    assert connection.stats.bytes_out < 12 * MIB


@pytest.mark.parametrize("reason", [CloseReason.IDLE, CloseReason.DRAINED])
def test_what_had_arrived_is_answered_and_nothing_that_comes_later(pair, serving, reason):
    served, peer = pair
    heard = []

    def feed(data: bytes) -> bytes:
        heard.append(data)
        if len(heard) == 1:
            peer.send(b"2" * 1000)
            wait_arrived(connection)
            connection.end(reason)
        else:
            peer.send(b"too late")
            wait_arrived(connection)
        return data

    connection = serving.connection_on(served, scripted(feed=feed, finish=lambda: b"."))
    peer.send(b"1")
    assert serving(connection, served) is reason
    assert b"".join(heard) == b"1" + b"2" * 1000
    assert peer.read(1002) == b"1" + b"2" * 1000 + b"."


def test_an_abrupt_end_answers_nothing_more(pair, serving):
    served, peer = pair
    finished = []

    def feed(data: bytes) -> bytes:
        peer.send(b"more")
        wait_arrived(connection)
        connection.end(CloseReason.CUT)
        return data

    connection = serving.connection_on(served, scripted(feed=feed, finish=lambda: finished.append(1) or b"bye"))
    peer.send(b"1")
    assert serving(connection, served) is CloseReason.CUT
    assert connection.stats.bytes_in == 1
    assert finished == []


def test_it_may_be_ended_before_it_is_served(pair, serving):
    served, peer = pair
    connection = serving.connection_on(served, scripted(greet=lambda: b"hello ", finish=lambda: b"bye"))
    peer.send(b"early ")
    wait_arrived(connection)
    assert connection.end(CloseReason.DRAINED)
    assert serving(connection, served) is CloseReason.DRAINED
    assert peer.read(len(b"hello early bye")) == b"hello early bye"


def test_a_cut_goes_over_a_drain_that_is_under_way(pair, background, serving):
    served, peer = pair
    gate = Gate()
    connection = serving.connection_on(served, lambda data: gate(data) * (12 * MIB))
    ending = background(serving, connection, served)
    peer.send(b"?")
    gate.wait_entered()
    assert connection.end(CloseReason.DRAINED)
    gate.open()
    assert peer.read(1) == b"?"
    assert connection.end(CloseReason.CUT)
    assert ending.result(PATIENCE) is CloseReason.CUT


# -- what others see of it


@pytest.mark.parametrize("greeting", [b"", b"hello"])
def test_the_phase_tells_what_it_is_doing(pair, background, serving, greeting):
    served, peer = pair
    gate, seen = Gate(), []
    connection = serving.connection_on(served, scripted(greet=lambda: greeting, feed=gate))
    ending = background(serving, connection, served)
    peer.send(b"hello")
    gate.wait_entered()
    seen.append(connection.stats.state)
    gate.open()
    assert peer.read(len(greeting) + 5)
    peer.finish()
    assert ending.result(PATIENCE) is CloseReason.EOF
    assert seen == [ConnectionState.HANDLING]


@pytest.mark.parametrize("greeting", [b"", b"hello"])
def test_one_that_has_greeted_is_receiving(pair, greeting):
    """Or the janitor would never find a silent peer idle."""
    served, _ = pair
    served.setblocking(False)
    connection = turns_on(served, scripted(greet=lambda: greeting))
    assert connection.turn(BUFFER) is Wants.READ
    assert connection.stats.state == ConnectionState.RECEIVING


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        (("fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
        ("", ""),
        ("/run/some.sock", "/run/some.sock"),
    ],
)
def test_how_a_peer_is_shown(pair, address, shown):
    assert BlockingConnection(1, pair[0], address, find_handler("echo", {})).peer == shown


# -- the end of the end


def test_a_reply_is_kept_and_nothing_received_until_it_has_gone(pair):
    served, peer = pair
    served.setblocking(False)
    connection = turns_on(served, lambda _: b"x" * (12 * MIB))
    assert connection.turn(BUFFER) is Wants.READ  # the opening
    peer.send(b"1")
    wait_arrived(connection)
    assert connection.turn(BUFFER) is Wants.WRITE
    peer.send(b"2")
    wait_arrived(connection)
    assert connection.turn(BUFFER) is Wants.WRITE
    assert connection.stats.bytes_in == 1


def test_a_stalled_peer_is_reset(pair):
    served, peer = pair
    connection = connection_on(served)
    connection.reason = CloseReason.STALLED
    connection.close()
    with pytest.raises(ConnectionResetError):
        peer.read(1)


def test_a_peer_that_has_everything_is_not_lingered_with(pair, background):
    served, peer = pair
    connection = connection_on(served)
    serving = background(serve, connection)
    assert peer.exchange(b"hello") == b"hello"
    connection.end(CloseReason.IDLE)
    assert serving.result(PATIENCE) is CloseReason.IDLE
    assert connection.start_lingering() is False
    connection.close()
    assert peer.read_to_end() == b""


@pytest.mark.parametrize("reason", [CloseReason.EOF, CloseReason.RESET, CloseReason.CUT, CloseReason.STALLED])
def test_who_ended_it_or_was_cut_is_not_lingered_with(pair, reason):
    served, peer = pair
    connection = connection_on(served)
    peer.send(b"unread")
    wait_arrived(connection)
    connection.reason = reason
    assert connection.start_lingering() is False


def test_a_peer_of_a_failed_handler_is_told_at_once_and_lingered_with(pair):
    served, peer = pair
    connection = connection_on(served, scripted(greet=lambda: 7))
    assert serve(connection) is CloseReason.HANDLER
    assert connection.start_lingering() is True
    assert connection.stats.state == ConnectionState.LINGERING
    assert peer.read_to_end() == b""
    assert connection.discard(1000) == 0
    peer.send(b"x" * 500)
    wait_arrived(connection)
    assert connection.discard(1000) == 500
    peer.close()
    wait_arrived(connection)
    assert connection.discard(1000) == -1


def test_a_peer_that_is_let_go_while_it_sends_is_told_the_end_before_it_is_reset(pair):
    served, peer = pair
    connection = connection_on(served)
    peer.send(b"in time")
    wait_arrived(connection)
    connection.end(CloseReason.DRAINED)
    assert serve(connection) is CloseReason.DRAINED
    peer.send(b"too late")
    wait_arrived(connection, len(b"too late"))
    assert connection.start_lingering() is True
    connection.close()
    assert peer.read_to_end() == b"in time"


def test_no_more_is_discarded_than_asked_for_plus_one_receive(pair):
    served, peer = pair
    connection = connection_on(served, scripted(greet=lambda: 7))
    serve(connection)
    connection.start_lingering()
    sent = peer.send_what_fits(bytes(MIB))
    wait_arrived(connection)
    dropped = connection.discard(1)
    assert 0 < dropped <= min(sent, 65536)
