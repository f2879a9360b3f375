"""One connection without a server: what other threads see of it, how it closes, and when it lingers."""

from __future__ import annotations

import pytest

from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from server.connection_kit import make_connection, serve_blocking
from server.kit import PATIENCE, Gate, scripted, wait_arrived

MIB = 1024 * 1024


# -- what other threads see


@pytest.mark.parametrize("greeting", [b"", b"hello"])
def test_the_state_says_that_the_handler_is_running(pair, background, serve_to_end, greeting):
    served, peer = pair
    gate, seen = Gate(), []
    connection = make_connection(served, scripted(greet=lambda: greeting, feed=gate))
    ending = background(serve_to_end, connection)
    peer.send(b"hello")
    gate.wait_entered()
    seen.append(connection.stats.state)
    gate.open()
    assert peer.read(len(greeting) + 5)
    peer.finish()
    assert ending.result(PATIENCE) is CloseReason.EOF
    assert seen == [ConnectionState.HANDLING]


@pytest.mark.parametrize("greeting", [b"", b"hello"])
def test_after_the_greeting_the_state_is_receiving(pair, greeting):
    """The janitor would otherwise never find a silent peer idle."""
    served, _ = pair
    served.setblocking(False)
    connection = make_connection(served, scripted(greet=lambda: greeting))
    assert NonBlockingDriver(connection).on_ready(ReceiveBuffer()) is Interest.READ
    assert connection.stats.state == ConnectionState.RECEIVING


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        (("fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
        ("", "unnamed"),
        ("/run/some.sock", "/run/some.sock"),
    ],
)
def test_the_address_of_a_peer_is_shown_as_people_write_it(pair, address, shown):
    assert make_connection(pair[0], address=address).peer == shown


# -- closing and lingering


def test_nothing_is_received_while_a_reply_is_unsent(pair):
    served, peer = pair
    served.setblocking(False)
    connection, buffer = make_connection(served, lambda _: b"x" * (12 * MIB)), ReceiveBuffer()
    driver = NonBlockingDriver(connection)
    assert driver.on_ready(buffer) is Interest.READ  # the first event only opens it
    peer.send(b"1")
    wait_arrived(connection)
    assert driver.on_ready(buffer) is Interest.WRITE
    peer.send(b"2")
    wait_arrived(connection)
    assert driver.on_ready(buffer) is Interest.WRITE
    assert connection.stats.bytes_in == 1


def test_a_stalled_peer_is_reset(pair):
    served, peer = pair
    connection = make_connection(served)
    connection.reason = CloseReason.STALLED
    connection.close()
    with pytest.raises(ConnectionResetError):
        peer.read(1)


def test_no_lingering_when_the_peer_has_every_reply(pair, background):
    served, peer = pair
    connection = make_connection(served)
    serving = background(serve_blocking, connection)
    assert peer.exchange(b"hello") == b"hello"
    connection.end(CloseReason.IDLE)
    assert serving.result(PATIENCE) is CloseReason.IDLE
    assert connection.start_lingering() is False
    connection.close()
    assert peer.read_to_end() == b""


@pytest.mark.parametrize("reason", [CloseReason.EOF, CloseReason.RESET, CloseReason.CUT, CloseReason.STALLED])
def test_no_lingering_after_an_end_by_the_peer_or_an_abrupt_one(pair, reason):
    served, peer = pair
    connection = make_connection(served)
    peer.send(b"unread")
    wait_arrived(connection)
    connection.reason = reason
    assert connection.start_lingering() is False


def test_after_a_handler_failure_the_peer_sees_the_end_at_once_while_the_server_lingers(pair):
    served, peer = pair
    connection = make_connection(served, scripted(greet=lambda: 7))
    assert serve_blocking(connection) is CloseReason.HANDLER
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


def test_closing_with_unread_input_sends_the_end_of_the_stream_before_the_reset(pair):
    served, peer = pair
    connection = make_connection(served)
    peer.send(b"in time")
    wait_arrived(connection)
    connection.end(CloseReason.DRAINED)
    assert serve_blocking(connection) is CloseReason.DRAINED
    peer.send(b"too late")
    wait_arrived(connection, len(b"too late"))
    assert connection.start_lingering() is True
    connection.close()
    assert peer.read_to_end() == b"in time"


def test_discard_exceeds_its_limit_by_one_receive_at_most(pair):
    served, peer = pair
    connection = make_connection(served, scripted(greet=lambda: 7))
    serve_blocking(connection)
    connection.start_lingering()
    sent = peer.send_what_fits(bytes(MIB))
    wait_arrived(connection)
    dropped = connection.discard(1)
    assert 0 < dropped <= min(sent, 65536)
