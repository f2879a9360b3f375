"""The plain transport: a socket as it is, with what a driver asks beyond receiving and sending."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from echoserver.net import transport
from echoserver.net.transport import PlainTransport, Transport
from server.connection_kit import tcp_pair
from server.kit import PATIENCE, Peer


@pytest.fixture
def pair() -> Iterator[tuple[PlainTransport, Peer]]:
    served, peer = tcp_pair()
    with served, peer:
        served.settimeout(None)
        yield PlainTransport(served), peer


def arrived(sock: socket.socket, count: int) -> None:
    """Wait until so many bytes have arrived."""
    assert len(sock.recv(count, socket.MSG_PEEK | socket.MSG_WAITALL)) == count


def test_it_is_a_transport_and_its_methods_are_the_sockets(pair):
    plain, peer = pair
    made: Transport = plain
    assert made.fileno() == plain.sock.fileno()
    assert plain.recv == plain.sock.recv
    assert plain.recv_into == plain.sock.recv_into
    assert plain.send == plain.sock.send
    peer.send(b"hello")
    arrived(plain.sock, 5)
    assert (made.pending(), made.unread()) == (0, 5)
    assert made.recv(100) == b"hello"
    assert made.send(b"world") == 5
    assert peer.read(5) == b"world"
    while made.unacknowledged():  # no event tells of it; the time limit of the test ends this
        pass
    assert made.taken(5) >= 5
    made.close()
    assert made.fileno() == -1


class Watched(socket.socket):
    """Counts how often its mode is set."""

    def setblocking(self, blocking: bool) -> None:
        self.asked = [*getattr(self, "asked", []), blocking]
        super().setblocking(blocking)


def accept_watched(default: float | None) -> Watched:
    """Accept a connection while the default timeout of sockets is this."""
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with socket.create_connection(listener.getsockname(), PATIENCE):
            socket.setdefaulttimeout(default)
            try:
                accepted, _ = listener.accept()
                return Watched(fileno=accepted.detach())
            finally:
                socket.setdefaulttimeout(before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an accepted socket may inherit its listener's mode")
def test_a_socket_that_blocks_already_costs_no_system_call():
    with accept_watched(None) as sock:
        PlainTransport(sock).set_blocking(True)
        assert not hasattr(sock, "asked")
        PlainTransport(sock).set_blocking(False)
        assert sock.asked == [False]


def test_where_the_mode_may_be_inherited_it_is_always_set(monkeypatch):
    monkeypatch.setattr(transport, "_ACCEPTED_BLOCKING", False)
    with accept_watched(None) as sock:
        PlainTransport(sock).set_blocking(True)
        assert sock.asked == [True]


@pytest.mark.parametrize("default", [0.0, 0.5])
@pytest.mark.parametrize("blocking", [True, False])
def test_the_default_timeout_of_sockets_does_not_matter(default, blocking):
    with accept_watched(default) as sock:
        assert sock.gettimeout() == default
        PlainTransport(sock).set_blocking(blocking)
        assert sock.gettimeout() == (None if blocking else 0.0)


def test_what_is_discarded_is_counted_up_to_the_end(pair):
    plain, peer = pair
    assert plain.discard(100) == 0  # though the socket blocks
    peer.send(b"x" * 100_000)
    arrived(plain.sock, 100_000)
    assert 1 <= plain.discard(1) <= 65_536
    while plain.discard(1_000_000):
        pass
    peer.finish()
    arrived_end(plain)
    assert plain.discard(100) == -1


def arrived_end(plain: PlainTransport) -> None:
    assert plain.sock.recv(1, socket.MSG_PEEK) == b""


def test_with_the_reading_side_shut_no_data_is_no_end(pair):
    plain, peer = pair
    plain.shut_reading()
    assert plain.discard(100) == 0
    if sys.platform == "linux":  # where bytes still arrive after that
        peer.send(b"late")
        while not plain.unread():  # no event tells of it; the time limit of the test ends this
            pass
        assert plain.discard(100) == 4


def test_a_broken_connection_has_nothing_to_discard(pair):
    plain, peer = pair
    peer.reset()
    with pytest.raises(ConnectionResetError):
        plain.recv(1)
    plain.close()
    assert plain.discard(100) == -1


def test_the_writing_side_is_shut_after_what_was_sent(pair):
    plain, peer = pair
    plain.send(b"bye")
    plain.shut_writing()
    assert peer.read_to_end() == b"bye"
    peer.send(b"heard")
    assert plain.recv(5) == b"heard"


def test_shutting_both_sides_wakes_a_receive(pair, background):
    plain, _ = pair
    receiving = background(plain.recv, 1)
    plain.shut_both()
    assert receiving.result(PATIENCE) == b""
    with pytest.raises(BrokenPipeError):
        plain.send(b"x")


def test_shutting_what_is_broken_says_so(pair):
    plain, _ = pair
    plain.close()
    for shut in (plain.shut_reading, plain.shut_writing, plain.shut_both):
        with pytest.raises(OSError, match="Bad file descriptor"):
            shut()


def test_a_reset_on_close_reaches_the_peer(pair):
    plain, peer = pair
    plain.reset_on_close()
    plain.close()
    with pytest.raises(ConnectionResetError):
        peer.read(1)
    plain.reset_on_close()  # the socket is gone, and nothing is raised


def test_a_wrapper_keeps_its_own_shutdown_to_itself():
    """As a TLS socket, whose method drops the layer."""

    class Wrapper(socket.socket):
        def shutdown(self, _how: int) -> None:
            raise AssertionError("dropped the layer")

    ours, theirs = socket.socketpair()
    with Wrapper(fileno=ours.detach()) as sock, theirs:
        theirs.settimeout(PATIENCE)
        PlainTransport(sock).shut_writing()
        assert theirs.recv(1) == b""
