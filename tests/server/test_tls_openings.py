"""TLS listeners: handshakes that fail or never end, and certificates that are refused at start."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from echoserver import Server, ServerConfig
from echoserver.errors import ConfigError
from echoserver.observe.metrics import ConnectionState
from server.kit import PATIENCE, wait_for_state
from server.tls_kit import AUTHORITY, SERVER_CERTIFICATE, client_context
from server.ways import every_way, wait_until_settled


@pytest.fixture
def secure(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    """Start a server that listens with TLS: `secure(option=value, ...)`."""
    cert, authority = tmp_path / "both.pem", tmp_path / "ca.pem"
    SERVER_CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(str(cert))
    authority.write_bytes(AUTHORITY.cert_pem.bytes())

    def start(*, client_ca: bool = False, **options: object) -> Server:
        ca = str(authority) if client_ca else ""
        return serve("echo", **{"listen": ["tls://127.0.0.1:0"], "tls_cert": str(cert), "tls_client_ca": ca, **options})

    return start


@every_way
def test_a_peer_that_speaks_no_tls(secure, connect, log, dispatch):
    server = secure(dispatch=dispatch)
    peer = connect(server)
    peer.send(b"GET / HTTP/1.0\r\n\r\n")
    peer.read_to_break()
    line = log.ended(peer)
    assert (line["reason"], line["level"]) == ("handshake", "info")
    assert line["error"] == "the peer does not speak TLS: http request"
    wait_until_settled(server)
    assert server.stats().closed["handshake"] == 1


@every_way
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"], ids=["nothing", "part of a record"])
def test_a_handshake_that_is_late(secure, connect, log, dispatch, sent):
    peer = connect(secure(dispatch=dispatch, handshake_timeout=0.1))
    peer.send(sent)
    peer.read_to_break()
    line = log.ended(peer)
    assert (line["reason"], line["level"]) == ("handshake", "info")
    assert line["error"] == "the TLS handshake was not complete within 100ms"


@every_way
def test_a_handshake_that_breaks_off(secure, connect, log, dispatch):
    server = secure(dispatch=dispatch)
    silent, broken = connect(server), connect(server)
    silent.close()
    assert (log.ended(silent)["reason"], log.ended(silent)["level"]) == ("handshake", "debug")
    broken.send(b"\x16\x03\x01")
    broken.finish()
    broken.read_to_break()
    assert log.ended(broken)["error"] == "the stream ended during the handshake"


@every_way
def test_a_client_certificate_can_be_required(secure, log, dispatch):
    server = secure(dispatch=dispatch, client_ca=True)
    certificate = AUTHORITY.issue_cert("client@example.test")
    for context in (client_context(), client_context(certificate=certificate)):
        with (
            socket.create_connection(server.address, PATIENCE) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as peer,
        ):
            peer.sendall(b"hello")
            if context is client_context():
                with pytest.raises(ssl.SSLError, match=r"(?i)certificate required"):
                    peer.recv(5)
            else:
                assert peer.recv(5) == b"hello"
    (line,) = log.wait_for("connection ended", reason="handshake")
    assert line["error"] == "peer did not return a certificate"


@every_way
def test_the_oldest_version_is_enforced(secure, log, dispatch):
    server = secure(dispatch=dispatch, tls_min_version="1.3")
    with (
        socket.create_connection(server.address, PATIENCE) as sock,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol version"),
    ):
        client_context(ssl.TLSVersion.TLSv1_2).wrap_socket(sock, server_hostname="localhost")
    assert log.wait_for("connection ended")[0]["error"] == "unsupported protocol"


@every_way
def test_a_stop_does_not_wait_for_a_handshake(secure, connect, log, dispatch):
    server = secure(dispatch=dispatch)
    peer = connect(server)
    wait_for_state(server, ConnectionState.OPENING)
    assert server.stop() == []
    assert peer.read_to_break() == b""
    assert log.ended(peer)["reason"] == "drained"


def test_what_a_tls_endpoint_needs_is_refused_before_anything_is_bound(tmp_path):
    with pytest.raises(ConfigError) as refused:
        ServerConfig(listen=["tls://127.0.0.1:9443"])
    problem = "is missing: name the file with the certificate for tls://127.0.0.1:9443"
    assert str(refused.value) == f"tls_cert: {problem}"
    with pytest.raises(ConfigError, match="can't be read: No such file or directory"):
        Server(ServerConfig(listen=["tls://127.0.0.1:9443"], tls_cert=str(tmp_path / "none.pem")))


def test_files_are_not_read_where_nothing_speaks_tls():
    Server(ServerConfig(port=0, tls_cert="/nowhere/cert.pem"))
