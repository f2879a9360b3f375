"""`stop` and `cut`, repeated, from many threads, and while a handler does not return."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

import echoserver.serving.drain
from echoserver import Server, ServerConfig
from server.kit import PATIENCE, Gate, drain_begun, scripted, wait_until_gone, wait_until_idle

MIB = 1024 * 1024


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
    # All waited for the end; the one that did the work returns the names.
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
    """Of two signals in a row, the second may arrive before the drain of the first has begun."""
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    server.cut()
    assert server.stop() in ([f"1 {peer.name}"], [])  # it may have ended already
    wait_until_idle(server)
    assert server.stats().closed["cut"] == 1


def test_cut_without_connections(serve, log):
    server = serve()
    server.cut()
    assert server.stop() == []
    server.cut()
    assert log.lines("threads did not end") == []


def test_stop_names_exactly_the_connections_that_were_cut(serve, connect, log):
    """A lingering connection has been answered and is not cut, whenever the deadline passes."""

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


# -- threads


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
    assert peer.read_to_break() == b""  # the peer sees the end at once, whatever its handler does
    (line,) = log.lines("threads did not end")
    assert line["level"] == "error"
    assert line["threads"]
    # It is counted, logged and released now, and not only when the handler returns.
    assert log.ended(peer)["reason"] == "cut"
    assert (server.stats().active, server.stats().closed["cut"], server.connections()) == (0, 1, [])
    gate.open()
    wait_until_gone(server)
    assert len(log.lines("connection ended")) == 1
    assert server.stats().closed["cut"] == 1


def test_a_handler_that_fails_after_the_stop_gave_it_up(serve, connect, log, monkeypatch):
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
    wait_until_gone(server)
    assert log.ended(peer)["reason"] == "cut"


def test_an_interrupted_stop_can_be_repeated(serve, connect, monkeypatch):
    """Ctrl-C interrupts the drain, and the end of the `with` block stops the server again."""
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


def test_start_and_stop_at_the_same_time(mode, background):
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


def test_a_handler_that_stops_its_own_server_gets_an_error(serve, connect, log):
    """It would wait for its own connection to end."""
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
    assert peer.exchange(b"stop") == b"stop"  # long before the stop would have returned
    assert len(outcome) == 1
    assert "\n" not in outcome[0]
