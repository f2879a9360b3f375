"""The limit per host: what counts as one host, which hosts are exempt, and what a rejected peer sees."""

from __future__ import annotations

import threading
from ipaddress import ip_network
from time import monotonic

import pytest

from echoserver.serving.hosts import HostLimit
from server.kit import PATIENCE, Peer, wait_until_free

REACHED = "connection limit of a host reached"


def test_a_host_may_have_as_many_connections_as_the_limit():
    hosts = HostLimit(2, [])
    assert [hosts.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert hosts.enter("192.0.2.2")
    hosts.leave("192.0.2.1")
    assert [hosts.enter("192.0.2.1") for _ in range(2)] == [True, False]


def test_a_host_is_the_same_over_ipv4_and_ipv6():
    hosts = HostLimit(1, [])
    assert hosts.enter("192.0.2.1")
    assert not hosts.enter("::ffff:192.0.2.1")
    hosts.leave("::ffff:192.0.2.1")
    assert hosts.enter("192.0.2.1")
    assert hosts.enter("2001:db8::1")
    assert hosts.enter("fe80::1%eth0")
    assert hosts.enter("fe80::1%eth1")


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.0/24", "::ffff:192.0.2.9", "::ffff:192.0.3.9"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ("::ffff:192.0.2.0/120", "::ffff:192.0.2.9", "::ffff:192.0.3.9"),
        ("2001:db8::/32", "2001:db8::1", "2001:db9::1"),
        ("fe80::/10", "fe80::1%eth0", "::1"),
    ],
)
def test_a_trusted_host_may_have_any_number_of_connections(network, inside, outside):
    hosts = HostLimit(1, [ip_network("198.51.100.0/24"), ip_network(network)])
    assert all(hosts.enter(inside) for _ in range(5))
    for _ in range(5):
        hosts.leave(inside)
    assert [hosts.enter(outside) for _ in range(2)] == [True, False]


def test_hosts_without_connections_are_forgotten():
    hosts = HostLimit(5, [])
    for number in range(1000):
        host = f"192.0.{number // 256}.{number % 256}"
        assert hosts.enter(host)
        hosts.leave(host)
    assert len(hosts._open) == 0


def test_many_threads_give_up_connections_of_one_host(background):
    hosts = HostLimit(100_000, [])
    start = threading.Barrier(9)

    def leave() -> None:
        start.wait(PATIENCE)
        for _ in range(2000):
            hosts.leave("192.0.2.1")

    for _ in range(16_001):
        hosts.enter("192.0.2.1")
    leaving = [background(leave) for _ in range(8)]
    start.wait(PATIENCE)
    for done in leaving:
        done.result(PATIENCE)
    assert hosts._open["192.0.2.1"] == 1


# -- the server


def peer_from(source: str, server) -> Peer:
    return Peer(server.address, source=source)


def test_a_host_at_its_limit_leaves_places_for_others(serve, log):
    server = serve(max_connections=10, max_connections_per_host=3)
    begun = monotonic()
    greedy = [peer_from("127.0.0.2", server) for _ in range(3)]
    try:
        assert [peer.exchange(b"in") for peer in greedy] == [b"in"] * 3
        for _ in range(20):
            with peer_from("127.0.0.2", server) as rejected:
                assert rejected.read_to_break() == b""
        with peer_from("127.0.0.3", server) as other:
            assert other.exchange(b"room") == b"room"
        stats = server.stats()
        assert (stats.accepted, stats.rejected) == (4, 20)
        lines = log.lines(REACHED)
        assert 1 <= len(lines) <= 1 + (monotonic() - begun)  # of twenty, at most one a second
        assert (lines[0]["host"], lines[0]["limit"], lines[0]["level"]) == ("127.0.0.2", 3, "warning")
    finally:
        for peer in greedy:
            peer.close()
    wait_until_free(server)
    # All places of the host are free again, and the rejected peers have cost none.
    again = [peer_from("127.0.0.2", server) for _ in range(3)]
    try:
        assert [peer.exchange(b"in") for peer in again] == [b"in"] * 3
    finally:
        for peer in again:
            peer.close()
    wait_until_free(server)
    assert server._admission.places.free == 10


def test_rejected_peers_of_a_host_cost_no_place(serve):
    server = serve(max_connections=2, max_connections_per_host=1)
    with peer_from("127.0.0.2", server) as first:
        assert first.exchange(b"1") == b"1"
        for _ in range(10):
            with peer_from("127.0.0.2", server) as rejected:
                assert rejected.read_to_break() == b""
        with peer_from("127.0.0.3", server) as second:
            assert second.exchange(b"2") == b"2"
    assert server.stats().held == 0


def test_a_trusted_host_has_no_limit(serve, log):
    server = serve(max_connections_per_host=1, trusted=["127.0.0.2"])
    peers = [peer_from("127.0.0.2", server) for _ in range(5)]
    try:
        assert [peer.exchange(b"in") for peer in peers] == [b"in"] * 5
    finally:
        for peer in peers:
            peer.close()
    wait_until_free(server)
    assert server.stats().rejected == 0
    assert log.lines(REACHED) == []
    assert len(server._admission.hosts._open) == 0


def test_one_host_on_a_socket_of_both_families_is_one(serve):
    server = serve(host="::", max_connections_per_host=1)
    port = server.address[1]
    with Peer(("127.0.0.1", port)) as first:
        assert first.exchange(b"1") == b"1"
        (connection,) = server.connections()
        assert connection.peer.startswith("[::ffff:127.0.0.1]:")
        with Peer(("127.0.0.1", port)) as second:
            assert second.read_to_break() == b""
        with Peer(("::1", port)) as third:
            assert third.exchange(b"3") == b"3"
