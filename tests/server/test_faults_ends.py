"""Faults and what ends a connection besides: a drain, a cut, a peer that goes, a limit; and faults that meet others."""

from __future__ import annotations

import itertools

import pytest

from echoserver.observe.metrics import CloseReason, ConnectionState
from server.fault_kit import bye, heard, is_silent, took
from server.kit import scripted, wait_for_state
from server.over_kit import TRANSPORTS, everywhere, over_each, reset
from server.ways import wait_for, wait_until_settled

plainly = over_each(TRANSPORTS[:1])
"""In every way to serve, over TCP."""


@everywhere
@pytest.mark.parametrize("rule", ["delay=60s", "stall", "throttle=1B/s", "slice=1,10s"])
def test_a_drain_answers_all_who_pause(with_faults, wired, rule):
    server = with_faults(rule)
    peers = [wired(server) for _ in range(10)]
    for peer in peers:
        peer.send(b"answer")
    wait_for(lambda: all(c.stats.state == ConnectionState.PAUSED for c in server.connections()), "no pause")
    assert took(server.stop) < 1.5
    assert [heard(peer)[0] for peer in peers] == [b"answer"] * 10
    assert server.stats().closed["drained"] == 10


@plainly
@pytest.mark.parametrize("rule", ["delay=60s", "stall", "stall@after 10ms", "throttle=1B/s"])
def test_a_cut_ends_a_pause(with_faults, wired, rule):
    server = with_faults(rule)
    peer = wired(server)
    peer.send(b"x" * 50)
    connection = wait_for_state(server, ConnectionState.PAUSED)
    connection.end(CloseReason.CUT)
    assert took(lambda: wait_until_settled(server)) < 1
    assert server.stats().closed["cut"] == 1


@everywhere
@pytest.mark.parametrize("rule", ["delay=60s", "stall", "stall@after 10ms", "throttle=1B/s"])
def test_a_peer_that_resets_during_a_pause_is_noticed(with_faults, wired, rule):
    server = with_faults(rule)
    peer = wired(server)
    peer.send(b"x" * 50)
    wait_for_state(server, ConnectionState.PAUSED)
    reset(peer)
    assert took(lambda: wait_until_settled(server)) < 1.5
    assert server.stats().closed["reset"] == 1


@everywhere
def test_a_half_close_during_a_delay_is_answered(with_faults, wired):
    server = with_faults("delay=100ms")
    peer = wired(server)
    peer.send(b"late")
    peer.finish()
    assert heard(peer) == (b"late", "end")
    wait_until_settled(server)
    assert server.stats().closed["eof"] == 1


@plainly
@pytest.mark.parametrize("rule", ["delay=400ms", "stall=400ms", "stall=400ms@after 10ms", "throttle=12B/s"])
def test_a_pause_is_neither_idle_nor_late(with_faults, wired, rule):
    server = with_faults(rule, idle_timeout=0.15, write_timeout=0.15)
    peer = wired(server)
    peer.send(b"12345")
    assert peer.read(5) == b"12345"
    # After the pause, silence is idle, and not the fault of a peer that takes nothing.
    assert heard(peer) == (b"", "end")
    wait_until_settled(server)
    assert server.stats().closed["idle"] == 1


@plainly
def test_silence_after_a_stall_is_idle(with_faults, wired):
    """Nothing is sent before, so that the state after the stall is that of the receive."""
    server = with_faults("stall=50ms@after 50ms", idle_timeout=0.3, write_timeout=0.2)
    assert heard(wired(server)) == (b"", "end")
    wait_until_settled(server)
    assert server.stats().closed["idle"] == 1


@plainly
@pytest.mark.parametrize("rule", ["delay=60s", "stall", "throttle=1B/s"])
def test_a_lifetime_ends_a_pause(with_faults, wired, rule):
    server = with_faults(rule, max_lifetime=0.2)
    peer = wired(server)
    peer.send(b"answer")
    assert heard(peer)[0] == b"answer"
    wait_until_settled(server)
    assert server.stats().closed["expired"] == 1


@plainly
def test_a_rate_limit_and_a_delay(with_faults, wired):
    server = with_faults("delay=50ms", rate_limit="20/s", rate_burst="1")
    peer = wired(server)

    def exchange() -> None:
        for _ in range(4):
            peer.send(b"x")
            assert peer.read(1) == b"x"

    assert 0.19 <= took(exchange) < 1
    peer.finish()
    assert heard(peer) == (b"", "end")


@plainly
def test_a_rate_limit_and_an_end_by_itself(with_faults, wired):
    server = with_faults("close@after 200ms", rate_limit="1/s", rate_burst="1")
    peer = wired(server)
    peer.send(b"x")
    assert took(lambda: heard(peer)) < 0.6
    wait_until_settled(server)
    assert server.stats().closed["fault"] == 1


@plainly
def test_paused_connections_occupy_their_places(with_faults, wired):
    server = with_faults("stall@#1", max_connections=2)
    for _ in range(2):
        peer = wired(server)
        peer.send(b"x")
    assert is_silent(wired(server), 0.1)
    assert server.stats().active == 2


# -- faults that meet others


@everywhere
@pytest.mark.parametrize("end", ["reset", "close", "halfclose"])
def test_an_end_at_the_place_of_a_delay_comes_after_it(with_faults, wired, end):
    server = with_faults("delay=120ms", end)
    peer = wired(server)
    assert took(lambda: (peer.send(b"x"), heard(peer))) >= 0.12
    bye(peer) if end != "reset" else peer.sock.close()
    wait_until_settled(server)
    assert server.stats().faults == {"delay": 1, end: 1}


@everywhere
@pytest.mark.parametrize("end", ["reset", "close"])
def test_an_end_by_itself_comes_during_a_delay(with_faults, wired, end):
    server = with_faults("delay=60s", f"{end}@after 150ms")
    peer = wired(server)
    peer.send(b"x")
    assert took(lambda: heard(peer)) < 1
    peer.sock.close()
    wait_until_settled(server)
    assert server.stats().closed["fault"] == 1


@everywhere
def test_a_half_close_by_itself_ends_a_delay(with_faults, wired):
    """The thread goes on receiving at once, and not when the delay would have been over."""
    server = with_faults("delay=60s", "halfclose@after 100ms")
    peer = wired(server)
    peer.send(b"x")
    assert heard(peer) == (b"", "end")
    peer.send(b"more")
    bye(peer)
    wait_until_settled(server)
    assert server.stats().bytes_in == 5
    assert server.stats().closed["eof"] == 1


@everywhere
def test_a_stall_by_itself_outlasts_a_delay(with_faults, wired):
    server = with_faults("delay=100ms", "stall=300ms@after 30ms")
    peer = wired(server)
    assert took(lambda: (peer.send(b"x"), peer.read(1))) >= 0.25


@plainly
@pytest.mark.parametrize("end", ["reset", "close"])
def test_an_end_by_itself_comes_although_the_peer_reads_nothing(with_faults, wired, end):
    server = with_faults(f"{end}@after 300ms", handler=scripted(greet=lambda: bytes(30_000_000), blocking=False))
    wired(server, buffer=4096)
    wait_for_state(server, ConnectionState.SENDING)
    wait_for(lambda: server.stats().faults == {end: 1}, "it never came")
    if end == "reset":
        wait_until_settled(server)


@everywhere
def test_a_half_close_ends_a_reply_without_end(with_faults, wired):
    server = with_faults(
        "halfclose@byte 100", handler=scripted(feed=lambda _: itertools.repeat(b"x" * 10), blocking=False)
    )
    peer = wired(server)
    peer.send(b"go")
    assert heard(peer) == (b"x" * 100, "end")
    bye(peer)
    wait_until_settled(server)
    assert server.stats().closed["eof"] == 1


@everywhere
def test_a_half_close_while_more_has_arrived(with_faults, wired):
    server = with_faults("stall=150ms", "halfclose@byte 10")
    peer = wired(server)
    peer.sock.sendall(b"".join(peer.encrypt(b"0123456789") for _ in range(20)))
    assert heard(peer) == (b"0123456789", "end")
    peer.send(b"more")
    bye(peer)
    wait_until_settled(server)
    assert server.stats().bytes_in == 204
    assert server.stats().closed["eof"] == 1


@everywhere
@pytest.mark.parametrize("handler", ["upper", "echo"])
def test_a_large_reply_is_complete(with_faults, wired, handler):
    server = with_faults("slice=50000..70000", "throttle=50MB/s", handler=handler)
    peer = wired(server)
    data = bytes(range(ord("A"), ord("Z"))) * 20_000
    for at in range(0, len(data), 50_000):
        peer.send(data[at : at + 50_000])
        assert peer.read(len(data[at : at + 50_000])) == data[at : at + 50_000]
    peer.finish()
    assert heard(peer) == (b"", "end")


@everywhere
def test_a_reply_above_256_kib_is_one_message(with_faults, wired):
    size = 700_000
    server = with_faults("duplicate@msg 1", "drop@msg 2", handler=scripted(feed=lambda _: bytes(size), blocking=False))
    peer = wired(server)
    peer.send(b"x")
    assert len(peer.read(2 * size)) == 2 * size
    peer.send(b"x")
    assert is_silent(peer, 0.1)
