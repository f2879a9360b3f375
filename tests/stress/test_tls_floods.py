"""Handshakes that never end, or never begin: what they cost other peers and the server, with figures."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from time import monotonic

import pytest

from stress.kit import (
    Abuser,
    Crowd,
    compare,
    descriptor_count,
    eventually,
    resident,
    stats_of,
    stop,
    thread_count,
)
from stress.tls_kit import TlsCrowd, silent_peers

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

SILENT = 100


def client_hello() -> bytes:
    context, outgoing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.fixture(params=["tls", "plain"])
def crowd_of(request, certificates):
    """Return polite peers of a server, on the endpoint with TLS or on the one without: `crowd_of(server)`."""

    def connect(server) -> Crowd:
        if request.param == "tls":
            return TlsCrowd(server.secure, certificates.trusting())
        return Crowd(server.plain)

    return connect


def settled(crowd: Crowd) -> list[float]:
    """Measure when the server has dealt with those who have come or gone just now."""
    crowd.measure(0.3)
    return crowd.measure(1.0)


def test_silent_peers_of_a_tls_endpoint(secure, crowd_of, figures):
    server = secure("--handshake-timeout", "30s")
    with crowd_of(server) as crowd:
        crowd.measure(0.5)
        without, under = compare(lambda: settled(crowd), lambda: silent_peers(server.secure, SILENT))
    figures.note("p99 of the others without them (ms)", without * 1000)
    figures.hold("p99 of the others, relative to that", under / without, most=2)


def test_silent_peers_end_at_the_handshake_timeout(secure, figures):
    server = secure("--handshake-timeout", "2s")
    began = monotonic()
    with silent_peers(server.secure, SILENT) as socks:
        connected, ends = monotonic(), []
        for sock in socks:
            assert sock.recv(1) == b""
            ends.append(monotonic())
    figures.hold("100 silent peers ended after (s), earliest", min(ends) - began, least=2.0)
    figures.hold("100 silent peers ended after (s), latest", max(ends) - connected, most=3.0)
    summary = stop(server)
    assert summary["closed"]["handshake"] == SILENT
    late = [line for line in server.events if line["event"] == "connection ended"]
    assert {line["error"] for line in late} == {"the TLS handshake was not complete within 2s"}


def test_a_client_hello_a_byte_at_a_time(secure, crowd_of, figures):
    """The time limit counts from the connect, and not from the last byte."""
    server = secure("--handshake-timeout", "3s")
    arguments = (50, 0.1, client_hello().hex())
    with crowd_of(server) as crowd:
        crowd.measure(0.5)
        without, under = compare(
            lambda: settled(crowd), lambda: Abuser("trickle", server.secure[1], *arguments), rounds=3
        )
    figures.note("p99 of the others without them (ms)", without * 1000)
    figures.hold("p99 of the others, relative to that", under / without, most=2)
    with Abuser("trickle", server.secure[1], *arguments) as abuser:
        ended, first, last = map(float, abuser.line().split())
    assert ended == 50
    figures.hold("50 slow peers ended after (s), earliest", first, least=2.5)
    figures.hold("50 slow peers ended after (s), latest", last, most=4.5)


def broken_handshakes(address: tuple[str, int], count: int) -> Iterator[socket.socket]:
    """Connect as peers that speak another protocol, send a part of a ClientHello, or reset, in turn."""
    hello = client_hello()
    for number in range(count):
        with socket.create_connection(address) as sock:
            sock.sendall(
                [b"GET / HTTP/1.0\r\n\r\n", hello[:200], b"SSH-2.0-none\r\n", hello[: number % len(hello)]][number % 4]
            )
            if number % 3:
                sock.shutdown(socket.SHUT_WR)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            yield sock


def test_ten_thousand_broken_handshakes(secure, figures):
    """Measured after as many others: by then as many have been open at once as ever will be."""
    server = secure()
    pid = server.process.pid

    def attack(count: int) -> None:
        for number, _ in enumerate(broken_handshakes(server.secure, count)):
            if number % 500 == 0:  # reads the log, which would fill its queue
                stats_of(server)
        assert eventually(lambda: stats_of(server)["active"] == 0)

    attack(10_000)
    threads, descriptors, memory = thread_count(pid), descriptor_count(pid), resident(pid)
    began = monotonic()
    attack(10_000)
    figures.note("10,000 broken handshakes took (s)", monotonic() - began)
    assert eventually(lambda: thread_count(pid) <= threads)
    assert eventually(lambda: descriptor_count(pid) <= descriptors)
    figures.hold("resident memory, relative to before (%)", 100 * resident(pid) / memory, most=110)
    closed = stop(server)["closed"]
    assert closed["handshake"] + closed["reset"] == 20_000
    assert closed["reset"] < closed["handshake"]
