"""Peers that reach a server over each transport, and are the same to use over all of them."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from echoserver import Server
from echoserver.observe.metrics import CloseReason
from server.kit import PATIENCE, where
from server.proxy_kit import IPV4, tlv, v2
from server.ways import every_way

_V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
_V2 = v2(IPV4 + tlv(0x04, b"padding"))


@dataclass(frozen=True)
class Over:
    """A transport: what the server listens on, and what a peer sends before it says anything."""

    name: str
    endpoint: str
    tls: str = ""
    """The version of TLS; none without TLS."""
    header: bytes = b""

    @property
    def unix(self) -> bool:
        return self.endpoint.startswith("unix:")

    def options(self, folder: Path) -> dict[str, Any]:
        """Return what a server needs to be told to listen on it."""
        found: dict[str, Any] = {"listen": [self.endpoint.format(folder=folder)]}
        if self.tls:
            certificate = folder / "certificate.pem"
            _tls_kit().SERVER_CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(str(certificate))
            found["tls_cert"] = str(certificate)
        if self.header:
            found["proxy_trusted"] = ["127.0.0.1"]
        return found


TRANSPORTS = [
    Over("tcp", "tcp://127.0.0.1:0"),
    Over("unix", "unix:{folder}/echo.sock"),
    Over("tls1.2", "tls://127.0.0.1:0", tls="TLSv1_2"),
    Over("tls1.3", "tls://127.0.0.1:0", tls="TLSv1_3"),
    Over("proxy-v1-tcp", "tcp://127.0.0.1:0?proxy=require", header=_V1),
    Over("proxy-v2-tls", "tls://127.0.0.1:0?proxy=require", tls="TLSv1_3", header=_V2),
]


def over_each(transports: list[Over]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a mark that runs a test over these transports, in every way to serve a connection."""
    each = pytest.mark.parametrize("over", transports, ids=lambda over: over.name)
    return lambda test: every_way(each(test))


everywhere = over_each(TRANSPORTS)
"""For what must hold over every transport."""

over_tls = over_each([over for over in TRANSPORTS if over.tls])
"""For what only TLS has."""


class Wire(Protocol):
    """The client's end of a connection."""

    sock: socket.socket

    def encrypt(self, data: bytes) -> bytes:
        """Return what carries this data, in one record where there are records."""

    def send(self, data: bytes) -> None:
        """Send all of this."""

    def finish(self) -> None:
        """Half-close: what the server sends can still be read."""

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""

    def read_some(self, count: int = 65536) -> bytes:
        """Read what comes; nothing at an orderly end of the stream."""


class PlainWire:
    """A stream without TLS. See `Wire`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def encrypt(self, data: bytes) -> bytes:
        return data

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            assert piece, f"the stream ended after {len(data)} of {count} bytes"
            data += piece
        return data

    def read_some(self, count: int = 65536) -> bytes:
        return self.sock.recv(count)


def join(server: Server, over: Over, *, buffer: int = 0) -> Wire:
    """Connect to a server, send the PROXY header and complete the handshake."""
    place = where(server)
    sock = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
    try:
        sock.settimeout(PATIENCE)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.connect(place)
        sock.sendall(over.header)
        if not over.tls:
            return PlainWire(sock)
        kit = _tls_kit()
        peer: Any = kit.TlsPeer(sock, kit.client_context(ssl.TLSVersion[over.tls]))
        shake(peer)
    except BaseException:
        sock.close()
        raise
    wire: Wire = peer
    return wire


def shake(peer: Any) -> bytes:
    """Complete the handshake of a `TlsPeer`; return what the server sent for it."""
    flight = b""
    while True:
        try:
            peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            peer.sock.sendall(peer.outgoing.read())
            data = peer.sock.recv(65536)
            peer.incoming.write(data)
            flight += data
        else:
            peer.sock.sendall(peer.outgoing.read())
            return flight


def read_to_end(wire: Wire) -> bytes:
    """Read to the orderly end of the stream."""
    pieces = []
    while piece := wire.read_some():
        pieces.append(piece)
    return b"".join(pieces)


def reset(wire: Wire) -> None:
    """Reset the connection. A unix socket can't: there the peer closes it with input unread."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.sock.close()


def served(server: Server, over: Over) -> bool:
    """Return whether a new peer is served."""
    wire = join(server, over)
    with wire.sock:
        wire.send(b"still here")
        wire.finish()
        return read_to_end(wire) == b"still here"


def closed_as(log: Any, reason: CloseReason | str) -> dict[str, Any]:
    """Wait for the one line about the end of a connection; it must have ended for this reason."""
    (line,) = log.wait_for("connection ended")
    assert line["reason"] == reason, line
    found: dict[str, Any] = line
    return found


def name_of(over: Over, wire: Wire) -> str:
    """Return how the log names a peer."""
    if over.header:
        return "192.0.2.1:56324"
    return f"pid={os.getpid()},uid={os.getuid()}" if over.unix else "{}:{}".format(*wire.sock.getsockname())


def _tls_kit() -> Any:
    """Return the kit for TLS; the test is skipped where trustme is missing."""
    pytest.importorskip("trustme", reason="needs trustme, which is in the extra `dev`")
    from server import tls_kit

    return tls_kit
