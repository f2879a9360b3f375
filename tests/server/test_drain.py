"""Stopping: who is answered, who is cut, and that `stop` comes back whatever happens."""

from __future__ import annotations

import socket
import threading
from time import monotonic

import pytest

import echoserver.serving.drain
from echoserver import Server, ServerConfig
from server.kit import PATIENCE, Gate, Peer, drain_begun, scripted, wait_arrived, wait_until_gone, wait_until_idle

MIB = 1024 * 1024


def test_a_hundred_busy_peers_get_every_reply(serve, connect, log, background):
    gate = Gate()
    server = serve(scripted(greet=lambda: b"!", feed=lambda data: gate(data).upper()))
    begun = drain_begun(server)
    peers = [connect(server) for _ in range(100)]
    for peer in peers:
        assert peer.read(1) == b"!"  # so it has been accepted
    for number, peer in enumerate(peers):
        peer.send(b"<first %03d>" % number)
    gate.wait_entered(8)  # as many as both modes serve at once
    for number, peer in enumerate(peers):
        peer.send(b"<second %03d>" % number)
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    for number, peer in enumerate(peers):
        assert peer.read_to_end() == b"<FIRST %03d><SECOND %03d>" % (number, number)
    assert stop.result(PATIENCE) == []
    stats = server.stats()
    assert stats.closed["drained"] == 100
    assert stats.bytes_in == stats.bytes_out - 100 == 100 * (len("<first 000>") + len("<second 000>"))


def test_peers_in_the_middle_of_a_stream_get_a_reply_to_all_that_was_received(serve, background, log):
    """Whatever the moment: what the server counted as received is what came back."""
    server = serve("upper")
    moving = threading.Barrier(9)

    def stream() -> tuple[str, bytes]:
        with Peer(server.address) as peer:
            assert peer.exchange(b"a") == b"A"
            moving.wait(PATIENCE)
            return peer.name, peer.flood(b"bcdefgha")

    streams = [background(stream) for _ in range(8)]
    moving.wait(PATIENCE)
    assert server.stop() == []
    for future in streams:
        name, got = future.result(PATIENCE)
        (line,) = log.lines("connection ended", peer=name)
        assert line["reason"] == "drained"
        assert line["bytes_in"] == line["bytes_out"] == 1 + len(got)
        assert got == (b"BCDEFGHA" * (len(got) // 8 + 1))[: len(got)]


def test_urgent_bytes_that_had_arrived_are_answered_too(serve, connect, background, gate):
    """Out of band, they would end the count of what is there to be answered."""
    server = serve(gate)
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"1")
    gate.wait_entered()
    peer.send(b"abc")
    peer.sock.send(b"!", socket.MSG_OOB)
    peer.send(b"def")
    wait_arrived(server.connections()[0], len(b"abc!def"))
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert peer.read_to_end() == b"1abc!def"
    assert stop.result(PATIENCE) == []


def test_silent_peers_are_let_go_at_once(serve, connect, log):
    server = serve(drain_timeout=0)
    peers = [connect(server) for _ in range(20)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    for peer in peers:
        assert peer.read_to_end() == b""
    assert server.stats().closed["drained"] == 20


def test_the_last_words_are_said(serve, connect):
    server = serve(scripted(finish=lambda: b"goodbye"))
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    assert peer.read_to_end() == b"goodbye"


def test_a_peer_whose_handler_is_still_greeting_is_greeted(serve, connect, background):
    gate = Gate()
    server = serve(scripted(greet=lambda: gate(b"hello ")))
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"early")
    gate.wait_entered()
    wait_arrived(server.connections()[0])
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert peer.read_to_end() == b"hello early"
    assert stop.result(PATIENCE) == []


def test_a_peer_that_never_reads_is_cut_at_the_deadline(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)))
    polite, peer = connect(server), connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"  # so the one before it has been accepted too
    begun = monotonic()
    assert server.stop(timeout=0.3) == [f"2 {peer.name}"]
    assert 0.3 <= monotonic() - begun < 1.3
    assert log.ended(peer)["reason"] == "cut"
    assert log.ended(polite)["reason"] == "drained"
    assert polite.read_to_end() == b""
    assert (server.stats().closed["cut"], server.stats().closed["drained"]) == (1, 1)
    assert log.lines("threads did not end") == []


def test_the_configured_drain_timeout_is_the_default(serve, connect):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0.2)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    begun = monotonic()
    assert server.stop() == [f"1 {peer.name}"]
    assert 0.2 <= monotonic() - begun < 1.2


def test_a_drain_without_limit_still_ends_a_peer_that_never_reads(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0, write_timeout=0.2)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    assert server.stop() == []
    assert log.ended(peer)["reason"] == "stalled"


def test_a_peer_that_never_stops_sending_does_not_hold_up_the_drain(serve, connect, background, log):
    server = serve(lambda _: b"", drain_timeout=0)
    peer = connect(server)
    done = threading.Event()

    def flood() -> None:
        try:
            while not done.is_set():
                peer.send(b"x" * 65536)
        except ConnectionError:
            pass

    flooding = background(flood)
    while not server.stats().bytes_in:  # no event tells of it; the flood makes it true
        pass
    begun = monotonic()
    try:
        assert server.stop() == []
        assert monotonic() - begun < 5
    finally:
        done.set()
    flooding.result(PATIENCE)
    assert log.ended(peer)["reason"] == "drained"


def test_a_peer_that_left_does_not_hold_up_the_drain(serve, connect, background, gate):
    server = serve(gate)
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"hello")
    gate.wait_entered()
    peer.close()
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    asked = monotonic()
    gate.open()
    assert stop.result(PATIENCE) == []
    assert monotonic() - asked < 1.5


def test_a_peer_that_comes_while_it_stops_is_not_kept(serve, background):
    server = serve(drain_timeout=0)

    def knock(begun: threading.Event) -> int:
        knocks = 0
        try:
            while True:
                with Peer(server.address) as peer:
                    peer.send(b"?")
                    knocks += 1
                    begun.set()
        except ConnectionError:
            return knocks

    begun = [threading.Event(), threading.Event()]
    knocking = [background(knock, event) for event in begun]
    assert all(event.wait(PATIENCE) for event in begun)
    while server.stats().accepted < 20:
        pass
    assert server.stop() == []
    for future in knocking:
        assert future.result(PATIENCE)
    stats = server.stats()
    assert stats.accepted == sum(stats.closed.values())


# -- cut


def test_cut_ends_a_running_drain(serve, connect, background, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0)
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    server.cut()
    assert stop.result(PATIENCE) == [f"1 {peer.name}"]
    assert log.ended(peer)["reason"] == "cut"


def test_cut_before_stop_is_not_forgotten(serve, connect):
    """Two signals in a row: the second may be heard before the first one's drain has begun."""
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    server.cut()
    assert server.stop() in ([f"1 {peer.name}"], [])  # by then it may have gone
    wait_until_idle(server)
    assert server.stats().closed["cut"] == 1


def test_cut_with_nobody_connected(serve, log):
    server = serve()
    server.cut()
    assert server.stop() == []
    server.cut()
    assert log.lines("threads did not end") == []


def test_who_is_named_is_who_was_cut(serve, connect, log):
    """One that the janitor is seeing off has been answered, and is not cut, whenever the deadline comes."""

    def fail(_: bytes) -> bytes:
        raise ValueError("as told")

    server = serve(scripted(feed=fail))
    peers = [connect(server) for _ in range(10)]
    for peer in peers:
        peer.send(b"?")
        assert peer.read_to_end() == b""  # half-closed, and now lingered with
    cut = server.stop(timeout=0.001)
    wait_until_idle(server)
    assert len(cut) == server.stats().closed["cut"]


# -- stop, again and from everywhere


def test_stop_twice(serve, connect):
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    assert server.stop() == []
    assert server.stop(timeout=0.001) == []
    assert peer.read_to_end() == b""
    server.wait()


def test_stop_from_many_threads_at_once(serve, connect, background):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    together = threading.Barrier(8)

    def stop() -> list[str]:
        together.wait(PATIENCE)
        return server.stop(timeout=0.2)

    results = [future.result(PATIENCE) for future in [background(stop) for _ in range(8)]]
    # Each waited for the end; one of them did the work and has the names.
    assert sorted(results) == [[]] * 7 + [[f"1 {peer.name}"]]
    assert server.connections() == []


def test_stop_before_start(mode, log):
    server = Server(ServerConfig(port=0, mode=mode), log=log.logger)
    assert server.stop() == []
    server.wait()
    with pytest.raises(RuntimeError, match="started once"):
        server.start()
    assert server.stop() == []


def test_wait_returns_when_the_server_has_stopped(serve, background):
    server = serve()
    waiting = [background(server.wait) for _ in range(3)]
    assert server.stop() == []
    for future in waiting:
        assert future.result(PATIENCE) is None


def test_idle_threads_end_although_the_deadline_has_passed(serve, connect, log):
    server = serve()
    peers = [connect(server) for _ in range(20)]
    for peer in peers:
        peer.send(b"hello")
    for peer in peers:
        assert peer.swap(b"") == b"hello"
    wait_until_idle(server)
    assert server.stop(timeout=0.001) == []
    assert log.lines("threads did not end") == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("conn-", "worker-"))] == []


def test_a_handler_that_does_not_return(serve, connect, log, gate):
    server = serve(gate)
    peer = connect(server)
    peer.send(b"hello")
    gate.wait_entered()
    begun = monotonic()
    assert server.stop(timeout=0.2) == [f"1 {peer.name}"]
    assert 0.2 <= monotonic() - begun < 3
    assert peer.read_to_break() == b""  # the peer is told at once, whatever its handler does
    (line,) = log.lines("threads did not end")
    assert line["level"] == "error"
    assert line["threads"]
    gate.open()
    wait_until_idle(server)
    wait_until_gone(server)
    assert log.ended(peer)["reason"] == "cut"


def test_a_handler_that_fails_after_it_was_given_up(serve, connect, log, monkeypatch):
    monkeypatch.setattr(echoserver.serving.drain, "_GRACE_AFTER_CUT", 0.05)
    gate = Gate()

    def fail_late(data: bytes) -> bytes:
        gate(data)
        raise ValueError("much too late")

    server = serve(scripted(feed=fail_late))
    peer = connect(server)
    peer.send(b"hello")
    gate.wait_entered()
    assert server.stop(timeout=0.1) == [f"1 {peer.name}"]
    gate.open()
    wait_until_idle(server)
    wait_until_gone(server)
    assert log.ended(peer)["reason"] in ("cut", "handler")


def test_a_stop_that_was_interrupted_can_be_repeated(serve, connect, monkeypatch):
    """Ctrl-C while the main thread waits for the drain, and then the end of its `with` block."""
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"

    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(server._registry, "wait_empty", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.stop()
    assert server.stop(timeout=0.1) == [f"1 {peer.name}"]
    assert server.connections() == []


def test_start_and_stop_at_the_same_moment(mode, background):
    for _ in range(20):
        server, together = Server(ServerConfig(port=0, mode=mode)), threading.Barrier(3)

        def act(action, together=together) -> object:
            together.wait(PATIENCE)
            try:
                return action()
            except RuntimeError as error:
                return str(error)

        starting = background(act, server.start)
        stopping, cutting = background(act, server.stop), background(act, server.cut)
        assert starting.result(PATIENCE) in (None, "a server is started once; make a new one")
        assert stopping.result(PATIENCE) == []
        cutting.result(PATIENCE)
        server.stop()
        server.wait()


def test_a_handler_that_stops_its_own_server(serve, connect, log):
    """It would wait for itself; it is told so at once, and the server goes on."""
    servers = []
    outcome = []

    def stop_it(data: bytes) -> bytes:
        try:
            servers[0].stop(timeout=2 * PATIENCE)
        except RuntimeError as error:
            outcome.append(str(error))
        return data

    servers.append(serve(stop_it))
    peer = connect(servers[0])
    assert peer.exchange(b"stop") == b"stop"  # long before the stop would have come back
    assert len(outcome) == 1
    assert "\n" not in outcome[0]
