"""What hostile, slow and unlucky peers do to the server, to other peers and to themselves, with figures."""

from __future__ import annotations

import random
import signal
import socket
from contextlib import ExitStack
from time import monotonic

import pytest

from server.kit import Peer
from stress.kit import (
    Abuser,
    Crowd,
    compare,
    descriptor_count,
    eventually,
    p99,
    pause,
    resident,
    stats_of,
    stop,
)

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

MB = 1_000_000


def next_exchange(server) -> float:
    """Return how long a new peer takes to connect and get a reply, in seconds."""
    began = monotonic()
    with Peer(server.address) as peer:
        assert peer.exchange(b"next") == b"next"
    return monotonic() - began


# -- resets


def test_resets_before_the_accept(serve, figures):
    """The kernel completes connections while the server is suspended; they are reset before it accepts them."""
    server = serve()
    next_exchange(server)
    before = descriptor_count(server.process.pid)
    server.send_signal(signal.SIGSTOP)
    for _ in range(200):
        Peer(server.address).reset()
    server.send_signal(signal.SIGCONT)
    figures.hold("next connection after 200 resets (s)", next_exchange(server), most=0.1)
    assert eventually(lambda: stats_of(server)["active"] == 0)
    assert eventually(lambda: descriptor_count(server.process.pid) <= before)
    stop(server)


def test_resets_in_the_middle_of_a_reply(serve, figures):
    server = serve()
    next_exchange(server)
    before = descriptor_count(server.process.pid)
    slowest = 0.0
    for _ in range(100):
        peer = Peer(server.address)
        peer.send_what_fits(bytes(8 * MB))
        peer.reset()
        slowest = max(slowest, next_exchange(server))
    figures.hold("slowest of 100 connections, each right after a reset (s)", slowest, most=0.1)
    assert eventually(lambda: stats_of(server)["active"] == 0)
    assert eventually(lambda: descriptor_count(server.process.pid) <= before)
    assert stop(server)["closed"]["reset"] == 100


# -- bulk data


def test_ten_megabytes_and_then_the_end(serve, figures):
    """Send everything, half-close, and only then read. What the kernel's buffers can't hold is sent while reading."""
    server = serve()
    payload = random.Random(2).randbytes(10 * MB)
    with Peer(server.address) as peer:
        accepted = peer.send_what_fits(payload)
        figures.note("bytes accepted before the first read", accepted)
        assert peer.swap(payload[accepted:]) == payload
    assert stop(server)["bytes_out"] == 10 * MB


def test_a_flood_that_is_never_read(serve, figures):
    server = serve("--write-timeout", "3s")
    with Crowd(server.address, peers=10) as crowd:
        crowd.measure(1.0)
        before = resident(server.process.pid)
        with Abuser("never-read", server.port, 100 * MB) as abuser:
            crowd.measure(1.0)
            figures.hold(
                "resident memory, relative to before (%)", 100 * resident(server.process.pid) / before, most=110
            )
            assert server.wait_for("connection ended", reason="stalled")
            figures.note("bytes of 100,000,000 that the kernel accepted", abuser.line())
        figures.hold(
            "resident memory afterwards, relative to before (%)", 100 * resident(server.process.pid) / before, most=110
        )
        without, under = compare(lambda: crowd.measure(1.0), lambda: Abuser("never-read", server.port, 100 * MB))
    figures.note("p99 of the others without abuse (ms)", without * 1000)
    figures.hold("p99 of the others, relative to that", under / without, most=2)


def test_a_greedy_pipeliner_next_to_polite_peers(serve, figures):
    """The greedy peer keeps one processor busy and its server another. For a fair comparison, it floods a second server
    in the rounds without abuse. The difference is what it does to the peers of this server.
    """
    server, other_server = serve(), serve()
    with Crowd(server.address, peers=20) as crowd:
        figures.note("p99 of polite peers on an idle machine (ms)", p99(crowd.measure(1.5)) * 1000)
        without, under = compare(
            lambda: crowd.measure(1.5),
            lambda: Abuser("pipeline", server.port, 64),
            instead=lambda: Abuser("pipeline", other_server.port, 64),
        )
    figures.note("p99 of polite peers while another server is flooded (ms)", without * 1000)
    figures.hold("p99 of polite peers, relative to that", under / without, most=3)


def test_resets_while_polite_peers_are_served(serve, figures):
    server = serve()
    with Crowd(server.address, peers=20) as crowd, Abuser("resetter", server.port) as abuser:
        crowd.measure(3.0)
        figures.note("resets survived", abuser.finish())
    assert eventually(lambda: stats_of(server)["active"] == 0)


# -- more peers than allowed


def test_twice_as_many_as_allowed_are_refused_at_once(serve, figures):
    server = serve("--max-connections", 50, "--at-limit", "reject")
    with Crowd(server.address, peers=50) as crowd:
        crowd.measure(0.5)
        refused = []
        for _ in range(50):
            began = monotonic()
            with Peer(server.address) as peer:
                assert peer.read_to_break() == b""
            refused.append(monotonic() - began)
        figures.hold("slowest of 50 refusals (s)", max(refused), most=0.1)
        without, under = compare(lambda: crowd.measure(1.0), lambda: Abuser("storm", server.port))
        figures.note("p99 of connected peers without abuse (ms)", without * 1000)
        figures.hold("p99 of connected peers, relative to that", under / without, most=2)
    assert stop(server)["rejected"] >= 50


def test_twice_as_many_as_allowed_wait_and_are_served(serve, figures):
    server = serve("--max-connections", 50, "--at-limit", "wait")
    with Crowd(server.address, peers=50) as crowd:
        crowd.measure(0.5)
        without, under = compare(lambda: crowd.measure(1.0), lambda: Abuser("crowd-outside", server.port, 50))
        figures.note("p99 of connected peers without abuse (ms)", without * 1000)
        figures.hold("p99 of connected peers, relative to that", under / without, most=2)
    with ExitStack() as connected, ExitStack() as queued:
        peers = [connected.enter_context(Peer(server.address)) for _ in range(50)]
        assert all(peer.exchange(b"in") == b"in" for peer in peers)
        waiting = [queued.enter_context(Peer(server.address)) for _ in range(50)]
        for peer in waiting:
            peer.send(b"waited")
        began = monotonic()
        connected.close()
        assert all(peer.read(6) == b"waited" for peer in waiting)
        figures.hold("50 queued peers served after the others left (s)", monotonic() - began, most=1)


# -- time limits


def test_silence_ends_at_the_idle_timeout(serve, figures):
    server = serve("--idle-timeout", "3s")
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(20)]
        assert all(peer.exchange(b"x") == b"x" for peer in peers)
        last_exchange = monotonic()
        ends = []
        for peer in peers:
            assert peer.read_to_end() == b""
            ends.append(monotonic() - last_exchange)
        figures.hold("silent connections ended after (s), earliest", min(ends), least=3.0 - 0.05)
        figures.hold("silent connections ended after (s), latest", max(ends), most=4.0)


def test_a_byte_now_and_then_is_not_idle_and_still_ends(serve, figures):
    server = serve("--idle-timeout", "1s", "--max-lifetime", "5s")
    with Peer(server.address) as peer:
        began, count = monotonic(), 0
        peer.sock.settimeout(0.7)
        while True:
            try:
                peer.send(b"x")
                count += 1
                while data := peer.sock.recv(10):
                    assert data == b"x"
                break
            except TimeoutError:
                continue
        lasted = monotonic() - began
    figures.hold("bytes sent at intervals of 0.7 times the idle timeout", count, least=5)
    figures.hold("the connection ended after (s)", lasted, least=5.0 - 0.05, most=6.0)
    assert server.wait_for("connection ended")["reason"] == "expired"


def test_a_suspended_process_drops_no_connection(serve, figures):
    """Suspend the server for longer than its idle and write timeouts, which is not the peers' fault."""
    server = serve("--idle-timeout", "3s", "--write-timeout", "3s")
    with ExitStack() as stack:
        crowd = stack.enter_context(Crowd(server.address, peers=50))
        crowd.measure(1.0)
        server.send_signal(signal.SIGSTOP)
        # Some peers wait for a reply, others have just been served.
        for sock in crowd.socks[:25]:
            sock.send(b"meanwhile")
        pause(5.0)
        server.send_signal(signal.SIGCONT)
        for sock in crowd.socks[:25]:
            assert sock.recv(9, socket.MSG_WAITALL) == b"meanwhile"
        crowd.measure(1.0)
        figures.hold("connections of 50 dropped", 50 - stats_of(server)["active"], most=0)
        assert sum(stats_of(server)["closed"].values()) == 0


def test_a_rate_limit_delays_and_never_drops(serve, figures):
    server = serve("--rate-limit", "200kB/s", "--rate-burst", "100kB")
    payload = random.Random(3).randbytes(700_000)
    with Peer(server.address) as peer:
        began = monotonic()
        assert peer.swap(payload) == payload
        took = monotonic() - began
    figures.hold("700 kB at 200 kB/s with a burst of 100 kB (s)", took, least=3.0, most=3.5)
    with Crowd(server.address, peers=20) as crowd:
        without, under = compare(lambda: crowd.measure(1.0), lambda: Abuser("pipeline", server.port, 64), rounds=3)
        figures.note("p99 of polite peers next to a limited pipeliner, relative to that without it", under / without)
