"""TLS listeners: what a client gets over TLS, in every way to serve it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from echoserver import Server
from server.kit import PATIENCE, Peer
from server.tls_kit import AUTHORITY, SERVER_CERTIFICATE, VERSIONS, TlsPeer, client_context
from server.ways import every_way, wait_until_settled

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"


@pytest.fixture
def secure(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    """Start a server that listens with TLS: `secure(handler, option=value, ...)`."""
    cert, key, authority = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    cert.write_bytes(SERVER_CERTIFICATE.cert_chain_pems[0].bytes())
    key.write_bytes(SERVER_CERTIFICATE.private_key_pem.bytes())
    authority.write_bytes(AUTHORITY.cert_pem.bytes())

    def start(handler: object = "echo", *, client_ca: bool = False, **options: object) -> Server:
        files = {"tls_cert": str(cert), "tls_key": str(key), "tls_client_ca": str(authority) if client_ca else ""}
        return serve(handler, **{"listen": ["tls://127.0.0.1:0"], **files, **options})

    return start


@pytest.fixture
def join(secure: object) -> Iterator[Callable[..., TlsPeer]]:
    """Connect to a server and complete the handshake: `join(server)`."""
    with ExitStack() as sockets:

        def connect_to(
            server: Server, context: ssl.SSLContext | None = None, header: bytes = b"", buffer: int = 0
        ) -> TlsPeer:
            sock = sockets.enter_context(socket.socket())
            sock.settimeout(PATIENCE)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.connect(server.address)
            sock.sendall(header)
            peer = TlsPeer(sock, context)
            while True:
                try:
                    peer.tls.do_handshake()
                except ssl.SSLWantReadError:
                    sock.sendall(peer.outgoing.read())
                    peer.incoming.write(sock.recv(65536))
                else:
                    sock.sendall(peer.outgoing.read())
                    return peer

        yield connect_to


def swap(peer: TlsPeer, data: bytes) -> bytes:
    """Send data and the end of it, and read to the end of the stream; for what the kernel's buffers hold."""
    peer.send(data)
    peer.finish()
    got = bytearray()
    while piece := peer.read_some():
        got += piece
    return bytes(got)


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_comes_back(secure, join, log, dispatch, version):
    server = secure(dispatch=dispatch)
    peer = join(server, client_context(version))
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    assert swap(peer, b"goodbye") == b"goodbye"
    (line,) = log.wait_for("connection ended")
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("eof", 12, 12)
    assert line["tls"] == peer.tls.version()
    assert line["endpoint"] == f"tls://127.0.0.1:{server.address[1]}"
    wait_until_settled(server)


@every_way
def test_what_arrives_with_the_end_of_the_handshake_is_served(secure, join, dispatch):
    """It is decrypted along with the handshake, so the socket doesn't tell of it."""
    server = secure(dispatch=dispatch)
    with socket.create_connection(server.address, PATIENCE) as sock:
        peer = TlsPeer(sock)
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        sock.sendall(peer.outgoing.read())
        while True:
            peer.incoming.write(sock.recv(65536))
            try:
                peer.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            break
        peer.tls.write(b"hello")
        sock.sendall(peer.outgoing.read())
        assert peer.read(5) == b"hello"


@every_way
def test_what_is_no_tls_after_the_handshake_is_a_reset(secure, join, log, dispatch):
    peer = join(secure(dispatch=dispatch))
    peer.sock.sendall(b"this is no record at all")
    (line,) = log.wait_for("connection ended")
    assert line["reason"] == "reset"
    assert line["error"] in ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "BAD_RECORD_TYPE", "RECORD_LAYER_FAILURE")


@every_way
def test_a_proxy_in_front_of_tls(secure, join, log, dispatch):
    server = secure(listen=["tls://127.0.0.1:0?proxy=require"], proxy_trusted=["127.0.0.1"], dispatch=dispatch)
    assert swap(join(server, header=V1), b"hello") == b"hello"
    (line,) = log.wait_for("connection ended")
    assert (line["peer"], line["tls"], line["reason"]) == ("192.0.2.1:56324", "TLSv1.3", "eof")


def test_plain_and_secure_endpoints_side_by_side(secure, join):
    server = secure(listen=["tls://127.0.0.1:0", "tcp://127.0.0.2:0"])
    assert swap(join(server), b"hello") == b"hello"
    with Peer(server.addresses[1]) as peer:
        assert peer.swap(b"hello") == b"hello"


@every_way
def test_a_peer_that_never_reads_is_stalled(secure, join, log, dispatch):
    peer = join(secure(dispatch=dispatch, write_timeout=0.3), buffer=4096)
    peer.sock.setblocking(False)
    with pytest.raises(OSError, match=r"."):  # noqa: PT012 - it blocks, or the server has reset it
        while True:
            peer.sock.sendall(peer.encrypt(b"x" * 16_384))
    (line,) = log.wait_for("connection ended")
    assert line["reason"] == "stalled"
