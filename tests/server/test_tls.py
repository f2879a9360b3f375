"""The TLS transport: data, both ends of the stream, and what other threads do to it."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator

import pytest

from echoserver.net.tls import TlsTransport
from echoserver.net.tls_facts import HandshakeError
from echoserver.net.transport import Transport
from server.connection_kit import tcp_pair
from server.tls_kit import VERSIONS, Background, Pair, TlsPeer, client_context, connected, server_context


@pytest.fixture(params=VERSIONS, ids=["TLSv1.2", "TLSv1.3"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with connected(socket.socketpair(), client=client_context(request.param)) as both:
        yield both


def receive_all(transport: TlsTransport, count: int) -> bytes:
    data = transport.recv(count - 10)  # leaves something of a record
    while len(data) < count and (piece := transport.recv(65_536)):
        data += piece
    return data


def test_it_is_a_transport(pair):
    transport, peer = pair
    made: Transport = transport
    assert made.fileno() == transport.sock.fileno()
    assert not made.can_splice
    peer.send(b"hello")
    assert made.recv(100) == b"hello"
    assert made.send(b"world") == 5
    assert peer.read(5) == b"world"
    assert made.send(b"") == 0
    made.close()
    assert made.fileno() == -1


def test_a_blocking_socket_waits(background):
    served, other = socket.socketpair()
    with served, other:
        transport, peer = TlsTransport(served, server_context()), TlsPeer(other)
        done = background(transport.handshake)
        while not peer.step():
            pass
        assert done.result() is None
        received = background(transport.recv, 100)
        peer.send(b"hello")
        assert received.result() == b"hello"
        sent = background(transport.send, b"x" * 1_000_000)
        assert peer.read(65_536) == b"x" * 65_536
        assert sent.result() == 65_536


def test_what_a_receive_leaves_of_a_record_is_pending(pair):
    transport, peer = pair
    peer.send(b"x" * 100)
    assert transport.recv(10) == b"x" * 10
    assert select.select([transport.sock], [], [], 0)[0] == []
    assert transport.pending() == transport.unread() == 90
    assert transport.recv_into(memoryview(bytearray(20))) == 20
    assert transport.recv(100) == b"x" * 70
    assert transport.pending() == transport.unread() == 0
    with pytest.raises(BlockingIOError):
        transport.recv(1)


def test_one_receive_returns_all_records_that_fit(pair):
    transport, peer = pair
    memory = memoryview(bytearray(200))
    for _ in range(2):
        for text in (b"one ", b"two ", b"three"):
            peer.send(text)
    assert transport.recv(17) == b"one two threeone "
    assert transport.recv_into(memory) == 9
    assert memory[:9] == b"two three"
    peer.send(b"x" * 65_536)
    assert len(transport.recv(65_536)) == 65_536
    assert transport.pending() == 0


@pytest.mark.parametrize("into", [False, True])
def test_a_record_in_two_parts_is_returned_whole(pair, into):
    transport, peer = pair
    first, second = peer.encrypt(b"first"), peer.encrypt(b"second")
    peer.sock.sendall(first + second[:10])

    def receive() -> bytes:
        if not into:
            return transport.recv(100)
        memory = memoryview(bytearray(100))
        return bytes(memory[: transport.recv_into(memory)])

    assert receive() == b"first"
    assert transport.unread() == 10
    with pytest.raises(BlockingIOError):
        receive()
    # What has arrived in part is still counted, though neither the socket nor `pending` knows of it.
    assert (transport.unread(), transport.pending()) == (10, 0)
    peer.sock.sendall(second[10:])
    assert receive() == b"second"
    assert transport.unread() == 0


@pytest.mark.parametrize("into", [False, True])
def test_after_close_notify_there_is_no_data_and_answers_can_be_sent(pair, into):
    transport, peer = pair
    peer.sock.sendall(peer.encrypt(b"last") + peer.goodbye())
    for expected in (b"last", b"", b""):  # without waiting: the socket has not ended
        memory = memoryview(bytearray(10))
        assert (bytes(memory[: transport.recv_into(memory)]) if into else transport.recv(10)) == expected
    assert transport.send(b"answer") == 6
    assert peer.read(6) == b"answer"
    transport.close()
    assert peer.read_some() == b""


def test_an_end_without_close_notify_is_told_after_everything_that_arrived(pair):
    transport, peer = pair
    peer.send(b"x" * 20_000)
    peer.sock.sendall(peer.encrypt(b"half a record")[:9])
    peer.break_off()
    assert receive_all(transport, 20_000) == b"x" * 20_000
    for _ in range(2):
        assert transport.recv(65_536) == b""
        assert transport.truncated
    assert transport.send(b"answer") == 6
    assert peer.read(6) == b"answer"


def test_with_the_reading_side_shut_what_has_arrived_is_received_and_answered(pair):
    transport, peer = pair
    peer.send(b"x" * 20_000)
    peer.sock.sendall(peer.encrypt(b"half a record")[:9])
    transport.shut_reading()
    assert transport.unread() >= 20_000
    assert receive_all(transport, 20_000) == b"x" * 20_000
    assert transport.recv(1) == transport.recv(1) == b""
    assert transport.send(b"answer") == 6
    transport.close()
    assert peer.read(6) == b"answer"
    assert peer.read_some() == b""


def test_shutting_the_reading_side_wakes_a_receive(pair, background):
    transport, peer = pair
    transport.set_blocking(True)
    received = background(transport.recv, 10)
    transport.shut_reading()
    assert received.result() == b""
    assert transport.send(b"x") == 1
    assert peer.read(1) == b"x"


def test_shutting_both_sides_wakes_a_handshake(background: Background):
    served, other = socket.socketpair()
    with served, other:
        transport = TlsTransport(served, server_context())
        done = background(transport.handshake)
        transport.shut_both()
        with pytest.raises(HandshakeError, match="ended during the handshake"):
            done.result()


def test_shutting_both_sides_wakes_a_send(background):
    chunk = b"x" * 65_536
    served, other = tcp_pair()
    with connected((served, other.sock)) as (transport, _):
        transport.set_blocking(True)

        def send_for_ever() -> None:
            while transport.send(chunk):
                pass

        done = background(send_for_ever)
        while not transport.unacknowledged():  # no event tells of it; the time limit of the test ends this
            pass
        transport.shut_both()
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            done.result()
        transport.close()


def test_a_spoiled_record_is_an_error_after_what_came_before_it(pair):
    transport, peer = pair
    good, spoiled = peer.encrypt(b"good"), bytearray(peer.encrypt(b"spoiled"))
    spoiled[-1] ^= 1
    peer.sock.sendall(good + bytes(spoiled) + peer.encrypt(b"more"))
    assert transport.recv(100) == b"good"
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
            transport.recv(100)
    transport.close()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert bad record mac"):
        peer.read_some()
    # Nothing follows the alert: a close_notify would say that the stream is complete.
    assert peer.sock.recv(100) == peer.incoming.read() == b""


def test_closing_says_goodbye_once(pair):
    transport, peer = pair
    transport.shut_writing()
    transport.shut_writing()
    assert peer.read_some() == b""
    peer.send(b"more")
    assert transport.recv(100) == b"more"
    transport.close()
    assert peer.sock.recv(100) == peer.incoming.read() == b""


def test_closing_while_the_peer_still_sends(pair):
    transport, peer = pair
    peer.send(b"unread")
    transport.shut_writing()
    assert peer.read_some() == b""
    while transport.discard(1_000):
        pass
    peer.break_off()
    assert transport.discard(1_000) == -1


def test_a_goodbye_that_has_to_wait_is_sent_later(pair):
    transport, peer = pair
    transport.sock.takes = iter([3, 0, 0])
    transport.shut_writing()
    assert transport.unsent()
    assert transport.discard(100) == 0
    assert transport.unsent()
    transport.discard(100)
    assert transport.unsent() == 0
    assert peer.read_some() == b""


def test_a_goodbye_to_a_peer_that_is_gone(pair):
    transport, peer = pair
    transport.sock.takes = iter([0])
    transport.shut_writing()
    peer.sock.close()
    assert transport.discard(100) == -1
    transport.close()


def test_a_reset_says_no_goodbye():
    served, other = tcp_pair()
    with connected((served, other.sock)) as (transport, peer):
        transport.reset_on_close()
        transport.close()
        with pytest.raises(ConnectionResetError):
            peer.read_some()


def test_tcp_tells_what_the_peer_has_taken():
    served, other = tcp_pair()
    with connected((served, other.sock)) as (transport, peer):
        while transport.unacknowledged():  # no event tells of it; the time limit of the test ends this
            pass
        before = transport.taken(0)
        transport.send(b"x" * 100)
        while transport.taken(100) == before:
            pass
        assert peer.read(100) == b"x" * 100


def test_a_descriptor_that_is_forgotten_stays_open(pair):
    transport, _ = pair
    number = transport.fileno()
    transport.forget()
    assert transport.fileno() == -1
    socket.socket(fileno=number).close()
