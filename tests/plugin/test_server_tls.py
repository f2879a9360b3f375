"""Servers of tests that speak TLS."""

from __future__ import annotations

import socket
import ssl
import sys

import pytest

from echoserver.pytest_plugin import TcpServer, TcpServerFactory, certificates
from support import PATIENCE


def exchange(server: TcpServer, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    plain = socket.create_connection(server.address, PATIENCE)
    try:
        peer = context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
    finally:
        plain.close()  # it has given its descriptor away, if that has worked
    peer.sendall(b"hello")
    assert peer.recv(5) == b"hello"
    return peer


@pytest.fixture
def _trustme() -> None:
    pytest.importorskip("trustme", reason="needs trustme, which is in the extra `dev`")


@pytest.mark.usefixtures("_trustme")
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_certificate_is_made(tcp_server: TcpServerFactory, mode, name):
    server = tcp_server(tls=True, mode=mode)
    assert server.url == f"tls://127.0.0.1:{server.port}"
    with exchange(server, server.client_context(), name) as peer:
        (connection,) = server.wait_for_connections(1)
        server.kill(connection)
        # CPython 3.11 takes a reset for an end of the stream without close_notify.
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            peer.recv(1)


@pytest.mark.usefixtures("_trustme")
def test_clients_can_be_given_the_authority_and_have_to_be(tcp_server: TcpServerFactory):
    first, second = tcp_server(tls=True), tcp_server(tls=True)
    assert first.ca != second.ca
    for server in (first, second):
        exchange(server, ssl.create_default_context(cafile=str(first.ca))).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        exchange(first, ssl.create_default_context())
    first.close()
    assert first.ca.exists()  # until the test ends


@pytest.mark.usefixtures("_trustme")
def test_files_can_be_given(tcp_server: TcpServerFactory, tmp_path):
    import trustme

    certificate = trustme.CA().issue_cert("db.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(str(cert))
    certificate.private_key_pem.write_to_path(str(key))
    server = tcp_server(tls=(cert, key))
    assert server.ca == cert
    exchange(server, server.client_context(), "db.example").close()
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        exchange(server, server.client_context(), "localhost")


def test_without_trustme_it_says_what_to_do(tcp_server: TcpServerFactory, monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    certificates._authority.cache_clear()
    with pytest.raises(RuntimeError, match=r"^tls=True needs trustme .*: pip install trustme, or give files: tls="):
        tcp_server(tls=True)


def test_a_server_without_tls_has_no_authority(tcp_server: TcpServerFactory):
    server = tcp_server()
    with pytest.raises(RuntimeError, match=r"^tcp://127.0.0.1:\d+ does not speak TLS: make the server with tls=True"):
        server.client_context()
    with pytest.raises(RuntimeError, match="does not speak TLS"):
        _ = server.ca
