"""Listeners that require a PROXY header: what it changes, in which pieces it may come, and what follows it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

from echoserver import Handler, Server, ServerConfig
from echoserver.handlers import Peer as WhoIsThere
from echoserver.observe.metrics import ConnectionState
from server.kit import Peer, wait_for_state, where
from server.proxy_kit import IPV4, IPV4_SOURCE, SIGNATURE, tlv, v2
from server.ways import every_way

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
V2 = v2(IPV4 + tlv(0x04, b"x" * 12_000))  # longer than what is looked at at once
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + struct.pack("!HH", 5000, 443)
CLIENT = "192.0.2.1:56324"
LISTEN = ["tcp://127.0.0.1:0?proxy=require"]

each_version = pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])


@pytest.fixture
def proxied(serve: Callable[..., Server]) -> Callable[..., Server]:
    """Start a server that requires a header: `proxied(handler, option=value, ...)`."""

    def start(handler: object = "echo", **options: object) -> Server:
        return serve(handler, **{"listen": LISTEN, "proxy_trusted": ["127.0.0.0/8"], **options})

    return start


@every_way
@each_version
def test_what_follows_the_header_is_answered(proxied, connect, log, dispatch, header):
    peer = connect(proxied(dispatch=dispatch))
    assert peer.swap(header + b"hello") == b"hello"
    (line,) = log.wait_for("connection ended")
    assert (line["peer"], line["proxy"], line["reason"]) == (CLIENT, peer.name, "eof")
    assert (line["bytes_in"], line["bytes_out"], line["level"]) == (5, 5, "info")
    assert line["endpoint"].endswith("?proxy=require")


@every_way
@pytest.mark.parametrize("header", [V1, v2(IPV4 + tlv(0x04, b"x" * 40))], ids=["v1", "v2"])
def test_a_header_may_come_byte_by_byte(proxied, connect, log, dispatch, header):
    peer = connect(proxied(dispatch=dispatch))
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for index in range(len(header)):
        peer.send(header[index : index + 1])
    assert peer.exchange(b"hello") == b"hello"
    peer.finish()
    assert peer.read_to_end() == b""
    assert log.wait_for("connection ended")[0]["peer"] == CLIENT


@every_way
@each_version
def test_a_header_may_come_in_two_pieces(proxied, connect, dispatch, header):
    server = proxied(dispatch=dispatch)
    peer = connect(server)
    peer.send(header[:20])
    wait_for_state(server, ConnectionState.OPENING)
    peer.send(header[20:] + b"hel")
    assert peer.read(3) == b"hel"
    assert peer.exchange(b"lo") == b"lo"


@every_way
def test_a_handler_is_told_the_client_before_it_greets(proxied, connect, dispatch):
    seen: list[WhoIsThere] = []

    class Naming(Handler):
        blocking = False

        def greet(self) -> bytes:
            seen.append(self.peer)
            return b"!"

        def feed(self, data: bytes) -> bytes:
            return data

    server = proxied(Naming, dispatch=dispatch)
    first = connect(server)
    first.send(V1)
    assert first.read(1) == b"!"
    second = connect(server)
    second.send(v2(IPV6, family=0x21))
    assert second.read(1) == b"!"
    assert [(who.host, who.port) for who in seen] == [IPV4_SOURCE, ("2001:db8::1", 5000)]
    assert [connection.peer for connection in server.connections()] == [CLIENT, "[2001:db8::1]:5000"]


@every_way
@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN anything at all\r\n", v2(b"", command=0x20, family=0), v2(b"", family=0)],
    ids=["unknown", "unknown-and-more", "local", "unspec"],
)
def test_a_header_without_addresses_keeps_those_of_the_connection(proxied, connect, log, dispatch, header):
    peer = connect(proxied(dispatch=dispatch))
    assert peer.swap(header + b"hello") == b"hello"
    line = log.ended(peer)
    assert line["reason"] == "eof"
    assert "proxy" not in line


@every_way
def test_a_proxy_of_a_unix_socket_needs_no_address_to_be_trusted(serve, connect, log, tmp_path, dispatch):
    server = serve(listen=[f"unix:{tmp_path}/echo.sock?proxy=require"], dispatch=dispatch)
    peer = connect(server)
    assert peer.swap(V1 + b"hello") == b"hello"
    (line,) = log.wait_for("connection ended")
    assert (line["peer"], line["proxy"]) == (CLIENT, peer.name)


def test_a_header_may_name_unix_sockets(proxied, connect, log):
    paths = b"/run/client.sock".ljust(108, b"\0") + b"/run/server.sock".ljust(108, b"\0")
    peer = connect(proxied(max_connections_per_host=1))
    assert peer.swap(v2(paths, family=0x31) + b"hello") == b"hello"
    (line,) = log.wait_for("connection ended")
    assert (line["peer"], line["proxy"]) == ("/run/client.sock", peer.name)


def test_only_the_endpoint_that_asks_for_a_header_requires_one(proxied, connect, log):
    server = proxied(listen=["tcp://127.0.0.2:0", *LISTEN])
    plain, with_proxy = server.addresses
    with Peer(plain) as peer:
        assert peer.swap(V1) == V1
    with Peer(with_proxy) as peer:
        assert peer.swap(V1) == b""
    assert [endpoint.endswith("?proxy=require") for endpoint in server.endpoints] == [False, True]


@every_way
def test_a_large_transfer_follows_a_header(proxied, connect, dispatch):
    data = bytes(range(256)) * 16_384
    peer = connect(proxied(dispatch=dispatch))
    assert peer.swap(V2 + data) == data


@every_way
@pytest.mark.parametrize("limit", ["1000/s", "10MB/s"])
def test_a_rate_limit_does_not_count_the_header(proxied, connect, dispatch, limit):
    peer = connect(proxied(dispatch=dispatch, rate_limit=limit, rate_burst="1" if limit == "1000/s" else "1kB"))
    assert peer.swap(V2 + b"hello") == b"hello"


def test_a_listener_that_a_caller_has_bound_requires_no_header(mode, log):
    sock = socket.create_server(("127.0.0.1", 0))
    with Server(ServerConfig(mode=mode), log=log.logger, listeners=[sock]) as server, Peer(where(server)) as peer:
        assert peer.swap(V1) == V1


def test_a_signature_alone_is_not_answered_before_the_stop(proxied, connect, log):
    server = proxied()
    peer = connect(server)
    peer.send(SIGNATURE)
    wait_for_state(server, ConnectionState.OPENING)
    server.stop()
    assert peer.read_to_break() == b""
    assert log.ended(peer)["reason"] == "drained"
