"""What faults cost: no thread and no busy loop for a pause; and that they are the same again with the same seed."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress
from math import sqrt
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoserver import Server, ServerConfig
from echoserver.errors import ConfigError
from echoserver.observe.metrics import ConnectionState
from server.descriptor_kit import descriptors as open_descriptors
from server.fault_kit import heard, took
from server.kit import Peer, where
from server.log_lines import LogLines
from server.over_kit import TRANSPORTS, over_each
from server.ways import every_way, wait_for, wait_until_settled, workers_ways

plainly = over_each(TRANSPORTS[:1])


def looks(server: Server) -> int:
    """Return how often a thread has looked at a connection."""
    workers = server.stats().workers
    assert workers is not None
    return workers.inline_events + workers.queued_events


@workers_ways
@pytest.mark.parametrize("rule", ["delay=60s", "stall", "stall@after 10ms", "throttle=1B/s", "delay=60s@byte 3"])
def test_a_pause_is_no_busy_loop(serve, connect, mode, dispatch, rule):
    server = serve("echo", dispatch=dispatch, fault=[rule])
    peers = [connect(server) for _ in range(10)]
    for peer in peers:
        peer.send(b"x" * 20)
    wait_for(lambda: all(c.stats.state == ConnectionState.PAUSED for c in server.connections()), "no pause")
    before = looks(server)
    for peer in peers:
        peer.send(b"more" * 100)
        peer.finish()
    threading.Event().wait(1.0)
    assert looks(server) - before <= 10 * 5


@workers_ways
def test_a_thousand_delayed_connections_cost_no_thread(serve, connect, mode, dispatch):
    server = serve("echo", dispatch=dispatch, fault=["delay=1s@msg 1"], max_connections=2000, backlog=1024)
    quick = connect(server)
    quick.send(b"x")
    assert quick.read(1) == b"x"
    threads = threading.active_count()
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(where(server), 10)) for _ in range(1000)]
        for peer in peers:
            peer.sendall(b"x")
        assert min(took(lambda: quick.exchange(b"y")) for _ in range(5)) < 0.1
        assert threading.active_count() == threads
        for peer in peers:
            assert peer.recv(2) == b"x"


def test_a_delay_costs_no_thread_besides_the_connection_s_own(serve, connect):
    server = serve("echo", mode="threads", fault=["delay=60s"])
    before = threading.active_count()
    peer = connect(server)
    peer.send(b"x")
    wait_for(lambda: server.stats().faults == {"delay": 1}, "no delay")
    assert threading.active_count() <= before + 1


# -- the same again


def numbers_that_meet(server: Server, rule: str, count: int) -> list[int]:
    """Open connections one after the other; return the numbers of those that the server has ended."""
    met = []
    for number in range(1, count + 1):
        with Peer(where(server)) as peer:
            peer.send(b"x")
            if peer.sock.recv(1) == b"":
                met.append(number)
    wait_until_settled(server)
    assert server.stats().closed["fault"] == len(met)
    assert server.stats().faults == {rule: len(met)}
    return met


def share_of_connections(serve, mode, dispatch, rule, count):
    """Check that a tenth met the rule, in the binomial 99.9 % interval, and the same ones at the second time."""
    runs = []
    for _ in range(2):
        options = {"dispatch": dispatch} if mode == "workers" else {}
        server = serve("echo", fault=[f"{rule}@10%"], fault_seed=11, **options)
        runs.append(numbers_that_meet(server, rule, count))
    assert runs[0] == runs[1]
    assert abs(len(runs[0]) - count / 10) <= 3.29 * sqrt(count * 0.09)


@every_way
@pytest.mark.parametrize("rule", ["refuse", "close"])
def test_a_share_of_a_thousand_connections(serve, mode, dispatch, rule):
    share_of_connections(serve, mode, dispatch, rule, 1000)


@pytest.mark.stress
@every_way
@pytest.mark.parametrize("rule", ["refuse", "close"])
def test_a_share_of_ten_thousand_connections(serve, mode, dispatch, rule):
    share_of_connections(serve, mode, dispatch, rule, 10_000)


@plainly
def test_a_ticket_from_the_log_replays_the_faults(with_faults, wired, log):
    server = with_faults("reset@30%,byte 7", "corrupt@byte 3", fault_seed=5)
    met, got = [], b""
    while not met:
        peer = wired(server)
        peer.send(b"0123456789")
        got = peer.read(7)
        peer.sock.settimeout(0.05)
        with suppress(TimeoutError):
            if heard(peer) == (b"", "reset"):
                met = log.wait_for("connection ended", reason="fault")
    faults, ticket = met[0]["faults"], met[0]["ticket"]
    server = with_faults(fault_seed=0, fault_ticket=ticket)
    for count in (1, 2, 3):
        peer = wired(server)
        peer.send(b"0123456789")
        assert peer.read(7) == got
        assert heard(peer) == (b"", "reset")
        lines = log.wait_for("connection ended", reason="fault", ticket=ticket, count=count + 1)
        assert lines[-1]["faults"] == faults


# -- arbitrary rules

RULES = st.sampled_from(
    [
        *(
            "delay=3ms",
            "delay=uniform(1ms,5ms)@50%/msg",
            "delay=2ms@byte 10",
            "throttle=100kB/s",
            "slice=1..20,1ms@msg 2",
        ),
        *("stall=4ms", "stall=5ms@after 3ms", "stall=3ms@byte 30", "stall@2%/msg", "stall@byte 900", "reset@5%/msg"),
        *("reset@byte 50", "reset@after 15ms", "close@byte 70", "close@after 5ms", "close@msg 3", "halfclose@byte 20"),
        *("halfclose@2ms..9ms", "corrupt=10%", "corrupt@byte 5", "drop@30%/msg", "duplicate@20%/msg", "refuse@20%"),
        *(
            "throttle=100kB/s",
            "slice=7",
            "drop@msg 1",
            "halfclose@msg 2",
            "reset@30%",
            "duplicate@msg 1",
            "delay=10ms@msg 2",
        ),
    ]
)
TRAFFIC = st.lists(st.sampled_from(["send", "long", "read", "finish", "reset", "close"]), max_size=8)


@every_way
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.lists(RULES, min_size=1, max_size=4, unique=True), traffic=st.lists(TRAFFIC, min_size=1, max_size=6))
def test_arbitrary_rules_and_traffic_leave_nothing(mode, dispatch, rules, traffic):
    try:
        options = {"dispatch": dispatch} if mode == "workers" else {}
        config = ServerConfig(mode=mode, port=0, fault=rules, fault_seed=3, drain_timeout=5, **options)
    except ConfigError:  # some make no sense together
        return
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    server = Server(config, log=LogLines().logger)
    server.start()
    try:
        with ExitStack() as stack:
            for steps in traffic:
                peer = stack.enter_context(Peer(where(server)))
                peer.sock.settimeout(0.01)
                play(peer, steps)
            began = monotonic()
            assert server.stop() == []
            assert monotonic() - began < 4
    finally:
        server.stop()
    stats = server.stats()
    assert stats.active == 0
    assert stats.accepted == sum(stats.closed.values())
    assert server._admission.places.free == config.max_connections
    assert set(threading.enumerate()) <= threads
    assert open_descriptors() == descriptors


def play(peer: Peer, steps: list[str]) -> None:
    """Do what a peer does, which may have been ended by now."""
    try:
        for step in steps:
            if step == "send":
                peer.send(b"message")
            elif step == "long":
                peer.send(bytes(500))
            elif step == "read":
                peer.sock.recv(100)
            elif step == "finish":
                peer.finish()
            elif step == "reset":
                peer.reset()
                return
            else:
                peer.close()
                return
    except OSError:
        pass
