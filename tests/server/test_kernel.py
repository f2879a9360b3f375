"""What the kernel tells of a connection, and what is told where it has less to say."""

from __future__ import annotations

import socket
import sys

import pytest

from echoserver.net import kernel
from server.connection_kit import tcp_pair
from server.kit import PATIENCE

linux = pytest.mark.skipif(sys.platform != "linux", reason="what other systems tell of a socket differs")


def fill(sock: socket.socket) -> int:
    """Send until the kernel takes no more; return how many bytes it took."""
    sock.setblocking(False)
    sent = 0
    try:
        while True:
            sent += sock.send(bytes(16_384))
    except BlockingIOError:
        return sent


@linux
@pytest.mark.parametrize("tcp_info", [True, False])
def test_what_a_slow_reader_takes_is_seen(tcp_info, monkeypatch):
    if not tcp_info:
        monkeypatch.setattr(kernel, "_TCP_INFO", 0)
    served, peer = tcp_pair(receive_buffer=4096)
    with served, peer:
        assert kernel.taken(served, 0) in (0, 1)  # the kernel may count the handshake
        sent = fill(served)
        assert 0 <= kernel.taken(served, sent) < sent
        assert kernel.unacknowledged(served) > 0
        # No event tells of an acknowledgement; the time limit of the test ends these waits.
        for part in (sent // 2, sent - sent // 2):
            before = kernel.taken(served, sent)
            peer.read(part)
            while kernel.taken(served, sent) == before:
                pass
        while kernel.taken(served, sent) < sent:
            pass


@linux
def test_what_the_peer_of_a_unix_socket_takes_is_seen():
    served, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with served, peer:
        peer.settimeout(PATIENCE)
        sent = fill(served)
        seen = [kernel.taken(served, sent)]
        assert kernel.taken(served, sent) == seen[0], "it stands still while the peer reads nothing"
        left = sent
        while left:
            left -= len(peer.recv(min(left, 4096)))
            seen.append(kernel.taken(served, sent))
        assert seen == sorted(seen)
        assert seen[-1] == sent
        # What is read less than a buffer at a time is seen once the buffer is empty: 64 KiB at most.
        assert len(set(seen)) > sent / 65_536


def test_what_arrived_is_counted():
    served, peer = tcp_pair()
    with served, peer:
        assert kernel.unread(served) == 0
        peer.send(b"hello")
        assert served.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL) == b"hello"
        assert kernel.unread(served) == 5


@linux
def test_of_a_connection_that_was_reset_nothing_is_outstanding():
    served, peer = tcp_pair(receive_buffer=4096)
    with served, peer:
        fill(served)
        assert kernel.unacknowledged(served) > 0
        peer.reset()
        while kernel.unacknowledged(served):  # no event tells of it; the time limit of the test ends this
            pass


def test_of_a_closed_socket_nothing_is_known():
    sock = socket.socket()
    sock.close()
    assert kernel.unread(sock) == kernel.unacknowledged(sock) == 0
    assert kernel.taken(sock, 0) == 0
