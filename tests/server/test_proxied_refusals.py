"""Listeners that require a PROXY header: connections without a valid one, limits by host, time limits, and the stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from time import monotonic

import pytest

from echoserver import Server, ServerConfig
from echoserver.errors import ConfigError
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.limits import Limits
from echoserver.serving.proxied import ProxyOpening
from server.connection_kit import make_connection
from server.janitor_kit import FakeConnection, make_janitor
from server.kit import drain_begun, scripted, wait_arrived, wait_for_state, wait_until_idle
from server.proxy_kit import IPV4, v2
from server.ways import every_way, wait_for, wait_until_settled

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
CLIENT = "192.0.2.1:56324"


@pytest.fixture
def proxied(serve: Callable[..., Server]) -> Callable[..., Server]:
    """Start a server that requires a header: `proxied(handler, option=value, ...)`."""

    def start(handler: object = "echo", **options: object) -> Server:
        ours = {"listen": ["tcp://127.0.0.1:0?proxy=require"], "proxy_trusted": ["127.0.0.1"]}
        return serve(handler, **{**ours, **options})

    return start


@every_way
@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"hello", r"expected a PROXY header, got b'hello'"),
        (b"GET / HTTP/1.0\r\n\r\n", r"expected a PROXY header, got b'GET / HTTP/1.0\r\n'"),
        (b"PROXY TCP4 192.0.2.1\r\nhello", "PROXY v1: expected two addresses and two ports, each after one space"),
        (v2(IPV4, family=0x12), "PROXY v2: the protocol is DGRAM, and must be STREAM"),
        (V1[:20], "the stream ended within the PROXY header"),
    ],
)
def test_what_is_no_header_ends_the_connection(proxied, connect, log, dispatch, sent, why):
    server = proxied(scripted(greet=lambda: b"!", finish=lambda: b"!", blocking=False), dispatch=dispatch)
    peer = connect(server)
    peer.send(sent)
    with suppress(OSError):  # it may have been refused already
        peer.finish()
    assert peer.read_to_break() == b""
    line = log.ended(peer)
    assert (line["reason"], line["error"], line["level"]) == ("proxy", why, "info")
    assert (line["bytes_in"], line["bytes_out"]) == (0, 0)
    wait_until_settled(server)
    assert server.stats().closed["proxy"] == 1
    assert server.stats().handler_errors == 0


@every_way
def test_a_probe_that_sends_nothing_is_logged_at_debug_only(proxied, connect, log, dispatch):
    peer = connect(proxied(dispatch=dispatch))
    peer.close()
    line = log.ended(peer)
    assert (line["reason"], line["level"]) == ("proxy", "debug")
    assert "error" not in line


@every_way
def test_a_source_that_is_not_trusted_is_not_listened_to(proxied, connect, log, dispatch):
    server = proxied(dispatch=dispatch)
    peer = connect(server, source="127.0.0.2")
    assert peer.read_to_break() == b""
    line = log.ended(peer)
    assert (line["reason"], line["error"]) == ("proxy", "the source is not in proxy_trusted")
    assert connect(server).swap(V1 + b"hello") == b"hello"
    wait_until_settled(server)
    assert server.stats().closed["proxy"] == 1


@every_way
@pytest.mark.parametrize("sent", [b"", V1[:-1], v2(IPV4)[:14]], ids=["nothing", "v1", "v2"])
def test_a_header_that_is_late_ends_the_connection(proxied, connect, log, dispatch, sent):
    begun = monotonic()
    peer = connect(proxied(dispatch=dispatch, proxy_timeout=0.1, idle_timeout=30))
    peer.send(sent)
    assert peer.read_to_break() == b""
    assert monotonic() - begun >= 0.1
    line = log.ended(peer)
    assert (line["reason"], line["error"]) == ("proxy", "no complete PROXY header within 100ms")
    assert line["level"] == "info"


def test_a_header_that_trickles_is_late_all_the_same(proxied, connect, log):
    peer = connect(proxied(proxy_timeout=0.2))
    peer.send(b"PROXY UNKNOWN ")
    with pytest.raises(ConnectionError):  # noqa: PT012 - whichever of the sends meets the end
        while True:
            peer.send(b"x" if not log.lines("connection ended") else b"xx")
            peer.sock.settimeout(0.01)
            try:
                if not peer.sock.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                pass
    assert log.ended(peer)["reason"] == "proxy"


def test_the_limit_for_a_header_is_judged_by_the_connection_and_not_by_its_state():
    class Opening:
        deadline, late = 5.0, CloseReason.PROXY

    for state in (ConnectionState.OPENING, ConnectionState.QUEUED):
        peer = FakeConnection(state=state)
        peer.opening = Opening()
        janitor, _ = make_janitor(Limits(idle=1, write=1, handler=1, opening=5), peer)
        janitor.look(4.9)
        assert peer.ended == []
        peer.bytes_arrived = 1  # no thread has received it yet
        janitor.look(5.0)
        assert peer.ended == []
        peer.bytes_arrived = 0
        janitor.look(5.1)
        assert peer.ended == [CloseReason.PROXY]


@every_way
def test_the_idle_timeout_begins_after_the_header(proxied, connect, log, dispatch):
    peer = connect(proxied(dispatch=dispatch, proxy_timeout=0, idle_timeout=0.1))
    peer.send(V1)
    assert peer.read_to_end() == b""
    assert log.wait_for("connection ended")[0]["reason"] == "idle"


# -- limits by host


@every_way
def test_the_limit_per_host_counts_the_host_in_the_header(proxied, connect, log, dispatch):
    server = proxied(dispatch=dispatch, max_connections_per_host=2)
    others = [connect(server) for _ in range(4)]
    for number, peer in enumerate(others, 1):
        peer.send(V1.replace(b"192.0.2.1", b"192.0.2.%d" % (number // 2)) + b"hello")
        assert peer.read(5) == b"hello"
    one_more = connect(server)
    one_more.send(V1 + b"hello")
    assert one_more.read_to_break() == b""
    (line,) = log.wait_for("connection ended")
    assert (line["reason"], line["proxy"]) == ("killed", one_more.name)
    assert line["error"] == "the host 192.0.2.1 has as many connections as one may have"
    assert server.stats().rejected == 1
    others[1].close()  # one of that host
    log.wait_for("connection ended", count=2)
    wait_for(lambda: server._admission.hosts._open["192.0.2.1"] == 1, "the host keeps what it has given back")
    again = connect(server)
    again.send(V1 + b"hello")
    assert again.read(5) == b"hello"
    for peer in [*others, again]:
        peer.close()
    wait_until_settled(server)
    assert not server._admission.hosts._open


@every_way
def test_without_addresses_the_limit_per_host_counts_the_proxy(proxied, connect, dispatch):
    server = proxied(dispatch=dispatch, max_connections_per_host=1)
    first, second = connect(server), connect(server)
    first.send(b"PROXY UNKNOWN\r\nhello")
    assert first.read(5) == b"hello"
    second.send(b"PROXY UNKNOWN\r\nhello")
    assert second.read_to_break() == b""
    assert server.stats().rejected == 1


# -- the stop


@pytest.mark.parametrize("reason", [CloseReason.DRAINED, CloseReason.CUT])
def test_what_arrived_with_the_header_is_answered_at_the_stop_but_not_when_cut(pair, serve_to_end, reason):
    served, peer = pair
    connection = make_connection(served)
    connection.opening = ProxyOpening(served, [ip_network("127.0.0.0/8")], 5)
    peer.send(V1 + b"hello")
    wait_arrived(connection, len(V1) + 5)
    connection.end(reason)
    assert serve_to_end(connection) is reason
    connection.close()
    assert peer.read_to_break() == (b"hello" if reason is CloseReason.DRAINED else b"")


@every_way
def test_a_stop_does_not_wait_for_a_header(proxied, connect, log, dispatch):
    server = proxied(dispatch=dispatch, proxy_timeout=30)
    silent, begun = connect(server), connect(server)
    begun.send(V1[:10])
    wait_for_state(server, ConnectionState.OPENING)
    assert server.stop() == []
    for peer in (silent, begun):
        assert peer.read_to_break() == b""
        assert log.ended(peer)["reason"] == "drained"


def test_a_stop_answers_a_header_and_its_data_that_wait_for_a_worker(proxied, connect, log, background, gate):
    server = proxied(gate, mode="workers", workers=1)
    busy = connect(server)
    busy.send(V1 + b"busy")
    gate.wait_entered()
    peer = connect(server)
    peer.send(V1 + b"hello")
    wait_for(lambda: len(server.connections()) == 2, "the second peer was not accepted")
    wait_arrived(server.connections()[1], len(V1) + 5)
    draining = drain_begun(server)
    stopping = background(server.stop)
    assert draining.wait(10)
    gate.open()
    assert stopping.result(10) == []
    assert peer.read_to_end() == b"hello"


def test_a_peer_that_resets_within_the_header(proxied, connect, log):
    server = proxied()
    peer = connect(server)
    peer.send(V1[:10])
    wait_for_state(server, ConnectionState.OPENING)
    peer.reset()
    assert log.ended(peer)["reason"] == "reset"
    wait_until_idle(server)


# -- the configuration


def test_a_listener_that_requires_a_header_needs_to_know_whom_to_believe():
    with pytest.raises(ConfigError) as refused:
        ServerConfig(listen=["tcp://127.0.0.1:9000?proxy=require"])
    assert str(refused.value) == (
        "proxy_trusted: is missing: name the proxies that may connect to tcp://127.0.0.1:9000?proxy=require, "
        "such as 192.0.2.7 or 10.0.0.0/8"
    )
    assert ServerConfig(listen=["unix:/run/echo.sock?proxy=require"]).endpoints[0].proxy
