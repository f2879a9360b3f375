"""Certificates, a TLS peer that has its ciphertext in its hands, and sockets that take little at a time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from select import select
from typing import Any

import pytest

from echoserver.net.tls import TlsTransport
from server.kit import PATIENCE

trustme: Any = pytest.importorskip("trustme", reason="needs trustme, which is in the extra `dev`")

AUTHORITY = trustme.CA()
SERVER_CERTIFICATE = AUTHORITY.issue_cert("localhost")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@cache
def server_context(client_ca: Any = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    SERVER_CERTIFICATE.configure_cert(context)
    if client_ca is not None:
        client_ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@cache
def client_context(version: ssl.TLSVersion | None = None, certificate: Any = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate is not None:
        certificate.configure_cert(context)
    return context


class TlsPeer:
    """The client's end. What it encrypts goes through the hands of the test if that wants it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def encrypt(self, data: bytes) -> bytes:
        """Return the records that carry this data."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.sock.sendall(self.encrypt(data))

    def finish(self) -> None:
        """Send close_notify; what the server sends can still be read."""
        self.sock.sendall(self.goodbye())

    def goodbye(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def break_off(self) -> None:
        """End the stream without close_notify."""
        self.sock.shutdown(socket.SHUT_WR)

    def step(self) -> bool:
        """Go on with the handshake as far as what has come allows; return whether it is complete."""
        if select([self.sock], [], [], 0)[0]:
            self.incoming.write(self.sock.recv(65536))
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.sock.sendall(self.outgoing.read())
        return True

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        data = b""
        while len(data) < count:
            piece = self.read_some(count - len(data))
            assert piece, f"the stream ended after {data!r}"
            data += piece
        return data

    def read_some(self, count: int = 65536) -> bytes:
        """Read what comes; nothing at close_notify. The end without it raises `ssl.SSLEOFError`."""
        while True:
            try:
                return self.tls.read(count)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()


class Narrow(socket.socket):
    """Takes and gives what the test allows: each number is one call's, and 0 stands for one that would have to wait.

    Without numbers left it behaves as any other socket.
    """

    takes: Iterator[int]
    gives: Iterator[int]

    @classmethod
    def of(cls, sock: socket.socket) -> Narrow:
        narrow = cls(fileno=sock.detach())
        narrow.setblocking(False)
        narrow.takes = narrow.gives = iter(())
        return narrow

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(memoryview(data)[: self._next(self.takes, len(data))], flags)

    def recv(self, limit: int, flags: int = 0) -> bytes:
        return super().recv(min(limit, self._next(self.gives, limit)), flags)

    def _next(self, numbers: Iterator[int], usual: int) -> int:
        number = next(numbers, usual)
        if not number:
            raise BlockingIOError
        return number


def shake(transport: TlsTransport, peer: TlsPeer) -> None:
    """Complete the handshake of a transport that does not block."""
    client_done = server_done = False
    while not (client_done and server_done):
        client_done = client_done or peer.step()
        server_done = server_done or transport.handshake() is None


@contextmanager
def connected(
    sockets: tuple[socket.socket, socket.socket],
    server: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
) -> Iterator[tuple[TlsTransport, TlsPeer]]:
    """Connect a transport, which does not block, and a peer."""
    served, other = sockets
    with other, Narrow.of(served) as narrow:
        transport, peer = TlsTransport(narrow, server or server_context()), TlsPeer(other, client)
        shake(transport, peer)
        yield transport, peer


Pair = tuple[TlsTransport, TlsPeer]
Background = Callable[..., Any]
