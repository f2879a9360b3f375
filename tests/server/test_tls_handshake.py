"""The TLS handshake: what has been negotiated, what it waits for, and in words why it failed."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoserver.net.client_hello import server_name
from echoserver.net.tls import TlsTransport
from echoserver.net.tls_facts import HandshakeError
from server.tls_kit import (
    AUTHORITY,
    VERSIONS,
    Narrow,
    TlsPeer,
    client_context,
    connected,
    server_context,
    shake,
    trustme,
)

CLIENT_CERTIFICATE = AUTHORITY.issue_cert("client@example.test", common_name="client")


@pytest.fixture
def sockets() -> Iterator[tuple[Narrow, socket.socket]]:
    served, other = socket.socketpair()
    with other, Narrow.of(served) as narrow:
        yield narrow, other


def failure(sock: socket.socket, context: ssl.SSLContext | None = None) -> str:
    """Return why the handshake fails with what has arrived."""
    transport = TlsTransport(sock, context or server_context())
    with pytest.raises(HandshakeError) as caught:
        transport.handshake()
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_has_been_negotiated_is_told(version):
    with connected(socket.socketpair(), client=client_context(version)) as (transport, peer):
        info = transport.tls_info()
        cipher = peer.tls.cipher()
        assert cipher is not None
        assert (info.version, info.cipher, info.server_name) == (peer.tls.version(), cipher[0], "localhost")
        assert (info.alpn, info.subject, info.serial) == (None, None, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_is_told(version):
    client = client_context(version, CLIENT_CERTIFICATE)
    with connected(socket.socketpair(), server_context(client_ca=AUTHORITY), client) as (transport, _):
        info = transport.tls_info()
        assert info.subject is not None
        assert "commonName=client" in info.subject
        assert re.fullmatch("[0-9A-F]+", info.serial or "")


def test_data_right_behind_the_handshake_is_pending(sockets):
    served, other = sockets
    transport, peer = TlsTransport(served, server_context()), TlsPeer(other)
    assert peer.step() is False
    assert transport.handshake() == "read"
    peer.incoming.write(other.recv(65_536))
    peer.tls.do_handshake()
    other.sendall(peer.outgoing.read() + peer.encrypt(b"early"))
    assert transport.handshake() is None
    assert transport.pending()
    assert transport.recv(100) == b"early"


def test_what_came_with_a_proxy_header_belongs_to_the_handshake(sockets):
    served, other = sockets
    peer = TlsPeer(other)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    hello = peer.outgoing.read()
    other.sendall(hello[20:])
    transport = TlsTransport(served, server_context(), hello[:20])
    shake(transport, peer)
    assert transport.tls_info().server_name == "localhost"


@settings(max_examples=40)
@given(st.lists(st.integers(0, 700), max_size=12), st.lists(st.integers(0, 700), max_size=12))
def test_a_handshake_goes_on_wherever_it_had_to_wait(takes, gives):
    served, other = socket.socketpair()
    with other, Narrow.of(served) as narrow:
        narrow.takes, narrow.gives = iter(takes), iter(gives)
        transport, peer = TlsTransport(narrow, server_context()), TlsPeer(other)
        shake(transport, peer)
        assert transport.unsent() == 0
        narrow.takes = narrow.gives = iter(())
        peer.send(b"hello")
        assert transport.recv(5) == b"hello"


def test_it_says_what_it_waits_for(sockets):
    served, other = sockets
    transport, peer = TlsTransport(served, server_context()), TlsPeer(other)
    assert transport.handshake() == "read"
    peer.step()
    served.takes = iter([100, 0, 0])
    assert transport.handshake() == "write"
    assert transport.handshake() == "write"
    assert transport.handshake() == "read"


# -- failures


def test_plain_text_is_named(sockets):
    served, other = sockets
    other.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert failure(served) == "the peer does not speak TLS: http request"


@pytest.mark.parametrize("text", [b"hello, world\n", b"\0" * 100, b"\xff" * 100, b"PROXY UNKNOWN\r\n" * 3])
def test_what_is_not_tls_is_named(sockets, text):
    served, other = sockets
    other.sendall(text)
    assert failure(served).startswith("the peer does not speak TLS: ")


def test_a_cut_client_hello_is_named(sockets):
    served, other = sockets
    peer = TlsPeer(other)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    other.sendall(peer.outgoing.read()[:100])
    transport = TlsTransport(served, server_context())
    assert transport.handshake() == "read"
    other.close()
    with pytest.raises(HandshakeError, match="the stream ended during the handshake"):
        transport.handshake()
    transport.close()


@given(st.binary(max_size=400), st.booleans())
def test_whatever_comes_is_waited_for_or_named(data, like_tls):
    served, other = socket.socketpair()
    with other, Narrow.of(served) as narrow:
        other.sendall(b"\x16\x03\x01" + len(data).to_bytes(2) + data if like_tls else data)
        other.shutdown(socket.SHUT_WR)
        assert failure(narrow)


def failing(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Return why both sides of a handshake fail; the client's side may complete, and fail at its first read."""
    served, other = socket.socketpair()
    with other, Narrow.of(served) as narrow:
        transport, peer = TlsTransport(narrow, server), TlsPeer(other, client)
        why = at_client = ""
        complete = False
        while not (why and at_client):
            try:
                if not at_client:
                    complete = complete or peer.step()
                    if complete and why:
                        peer.read_some()
            except ssl.SSLError as error:
                at_client = str(error)
            try:
                if not why:
                    transport.handshake()
            except HandshakeError as error:
                why = str(error)
        transport.close()
        return why, at_client


def test_a_client_that_does_not_trust_the_server_says_so():
    why, at_client = failing(server_context(), ssl.create_default_context())
    assert why == "the peer sent the alert: unknown ca"
    assert "CERTIFICATE_VERIFY_FAILED" in at_client


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_the_certificate_it_needs_is_refused(version):
    why, at_client = failing(server_context(client_ca=AUTHORITY), client_context(version))
    assert why == "peer did not return a certificate"
    assert "ALERT" in at_client


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_of_another_authority_is_refused(version):
    stranger = trustme.CA().issue_cert("stranger@example.test")
    why, at_client = failing(server_context(client_ca=AUTHORITY), client_context(version, stranger))
    assert why.startswith("the client's certificate does not verify: ")
    assert "issuer certificate" in why
    assert "alert unknown ca" in at_client.lower()


def test_versions_that_do_not_meet_are_named():
    server = server_context.__wrapped__()
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    why, at_client = failing(server, client_context(ssl.TLSVersion.TLSv1_2))
    assert why == "unsupported protocol"
    assert "protocol version" in at_client.lower()


# -- the server name


def hello_of(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = hello_of("name.example")


def test_the_server_name_is_found():
    assert server_name(HELLO + b"what follows") == "name.example"
    assert server_name(hello_of(None)) is None
    # Not even a name that no host has is an error, and it can't do anything to a terminal once it is escaped.
    assert server_name(HELLO.replace(b"name.example", b"n\xffme.ex\nmple")) == "n\\xffme.ex\nmple"


@given(st.lists(st.integers(1, 60), min_size=1))
def test_a_hello_in_several_records_is_put_together(sizes):
    message, records = HELLO[5:], b""
    while message:
        size = sizes.pop() if sizes else len(message)
        records += HELLO[:3] + len(message[:size]).to_bytes(2) + message[:size]
        message = message[size:]
    assert server_name(records) == "name.example"


@given(st.data())
def test_no_hello_is_an_error(data):
    cut = data.draw(st.integers(0, len(HELLO) - 1))
    assert server_name(HELLO[:cut]) is None
    spoiled = bytearray(HELLO)
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(HELLO) - 1))] = data.draw(st.integers(0, 255))
    found = server_name(bytes(spoiled))
    assert found is None or found.isascii()
