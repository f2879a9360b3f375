"""The end of a TLS stream: close_notify follows the last reply, however full the socket is."""

from __future__ import annotations

import socket

from echoserver.net.tls import TlsTransport
from server.kit import scripted
from server.over_kit import closed_as, over_tls, read_to_end
from server.ways import wait_for, wait_until_settled

SIZES = range(20_000, 35_000, 301)


@over_tls
def test_a_peer_that_reads_late_gets_close_notify(start, wire, log):
    """Some of these replies leave no room for it in the kernel's buffer, which is full when they have been sent."""
    server = start(scripted(feed=lambda data: b"x" * int(data), blocking=False))
    for number, size in enumerate(SIZES):
        peer = wire(server, buffer=4096)
        wait_for(lambda: [c.opening for c in server.connections()] == [None], "it is not open")
        (connection,) = server.connections()
        connection.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        peer.sock.sendall(peer.encrypt(b"%d" % size) + peer.goodbye())
        while len(log.lines("connection ended")) <= number:
            peer.incoming.write(peer.sock.recv(1000))
        assert len(read_to_end(peer)) == size
        peer.sock.close()
    wait_until_settled(server)
    assert server.stats().closed["eof"] == len(SIZES)


@over_tls
def test_a_peer_that_does_not_take_close_notify_is_stalled(start, wire, log, monkeypatch):
    def never(transport: TlsTransport) -> None:
        """Find the socket full: the peer reads nothing any more."""
        while True:
            transport.sock.send(bytes(65_536))

    monkeypatch.setattr(TlsTransport, "send_end", never)
    server = start(scripted(blocking=False), write_timeout=0.3)
    peer = wire(server)
    peer.send(b"hello")
    peer.finish()
    assert peer.read(5) == b"hello"
    closed_as(log, "stalled")
    wait_until_settled(server)


@over_tls
def test_a_peer_that_has_left_needs_no_close_notify(start, wire, log, monkeypatch):
    """It has ended its stream and was answered: that is no reset, though close_notify reaches nobody."""

    def broken(_transport: TlsTransport) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(TlsTransport, "send_end", broken)
    server = start(scripted(blocking=False))
    peer = wire(server)
    peer.send(b"hello")
    peer.finish()
    assert peer.read(5) == b"hello"
    peer.sock.close()
    closed_as(log, "eof")
    wait_until_settled(server)
