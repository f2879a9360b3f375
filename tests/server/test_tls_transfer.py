"""TLS on sockets that take and give little at a time: nothing is lost, repeated or kept without bound."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoserver.net.tls import TlsTransport
from echoserver.net.tls_stream import TlsSender
from server.tls_kit import VERSIONS, Narrow, Pair, TlsPeer, client_context, connected

SIZES = st.lists(st.integers(0, 40_000), min_size=1, max_size=8)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with connected(socket.socketpair()) as both:
        yield both


def narrow(sock: socket.socket) -> Narrow:
    assert isinstance(sock, Narrow)
    return sock


def endless(numbers: list[int]) -> Iterator[int]:
    """Return these numbers again and again; one of them is not zero."""
    while True:
        yield from numbers
        yield 500


def test_a_send_that_has_to_wait_is_repeated_with_the_same_bytes(pair):
    transport, peer = pair
    data = bytes(range(256)) * 400
    narrow(transport.sock).takes = iter([10_000, 0, 0, 1, 0])
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            transport.send(data)
        assert 0 < transport.unsent() <= 66_000
    assert transport.send(data) == 65_536
    assert transport.unsent() == 0
    assert transport.send(data[65_536:]) == len(data) - 65_536
    assert peer.read(len(data)) == data


def test_what_is_left_can_be_flushed_alone(pair):
    transport, peer = pair
    narrow(transport.sock).takes = iter([100, 0, 0])
    with pytest.raises(BlockingIOError):
        transport.send(b"x" * 1000)
    with pytest.raises(BlockingIOError):
        transport.flush()
    transport.flush()
    assert peer.read(1000) == b"x" * 1000
    assert transport.send(b"x" * 1000) == 1000
    peer.send(b"nothing was sent twice")
    assert transport.recv(100) == b"nothing was sent twice"
    peer.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.read_some()


def test_a_receive_that_must_not_wait_does_not_go_on_for_ever(pair):
    transport, peer = pair
    peer.send(b"x" * 16_000)
    narrow(transport.sock).gives = endless([100])
    times = 0
    while True:
        try:
            assert transport.recv(65_536) == b"x" * 16_000
            break
        except BlockingIOError:
            times += 1
            assert transport.unread() > 16_000
    assert times >= 3


def test_a_peer_that_does_not_take_our_answers_is_an_error(pair):
    transport, _ = pair
    outgoing = ssl.MemoryBIO()
    sender = TlsSender(transport.sock, transport._tls, outgoing)
    narrow(transport.sock).takes = iter([0, 0])
    outgoing.write(b"x" * 60_000)
    sender.answer()
    outgoing.write(b"x" * 10_000)
    with pytest.raises(OSError, match="does not take the answers"):
        sender.answer()


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=40)
@given(data=st.data())
def test_every_byte_comes_back_once(version, data):
    messages = [bytes([65 + i]) * size for i, size in enumerate(data.draw(SIZES))]
    limit = data.draw(st.integers(1, 70_000))
    with connected(socket.socketpair(), client=client_context(version)) as (transport, peer):
        sock = narrow(transport.sock)
        sock.takes = endless(data.draw(st.lists(st.integers(0, 30_000), max_size=5)))
        sock.gives = endless(data.draw(st.lists(st.integers(0, 30_000), max_size=5)))
        assert echo(transport, peer, messages, limit) == b"".join(messages)


def echo(transport: TlsTransport, peer: TlsPeer, messages: list[bytes], limit: int) -> bytes:
    """Have a transport send back what the peer sends, in one thread: each side does what it can, in turn."""
    ciphertext = b"".join(peer.encrypt(message) for message in messages if message) + peer.goodbye()
    peer.sock.setblocking(False)
    unsent, returned, ended = b"", b"", False
    while True:
        ciphertext = ciphertext[send_some(peer.sock, ciphertext) :]
        try:
            if not ended and not unsent:
                unsent = transport.recv(limit)
                ended = not unsent
            unsent = unsent[transport.send(unsent) :]
        except BlockingIOError:
            pass
        if ended and not unsent:
            transport.shut_writing()
        try:
            piece = peer.read_some()
        except BlockingIOError:
            continue
        if not piece:
            return returned
        returned += piece


def send_some(sock: socket.socket, data: bytes) -> int:
    try:
        return sock.send(data) if data else 0
    except BlockingIOError:
        return 0
