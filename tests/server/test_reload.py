"""A server of one process that does as another configuration says: what changes, for whom, and what is refused."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from echoserver.config import options
from echoserver.errors import ConfigError
from server.command_kit import connected, exchange
from server.kit import PATIENCE, Peer, scripted, wait_until_idle
from server.ways import every_way, wait_for
from support import Program, Service

FIXED = {name for name, option in options() if option.fixed}


def changed(server: Any, **values: Any) -> Any:
    return replace(server.config, **values)


@every_way
def test_new_connections_get_the_new_handler_and_open_ones_keep_theirs(serve, connect, dispatch, log):
    blocking = dispatch != "inline"
    server = serve(scripted(feed=lambda data: data + b"1", blocking=blocking), dispatch=dispatch)
    old = connect(server)
    old.send(b"a")
    assert old.read(2) == b"a1"
    handler = scripted(feed=lambda data: data + b"2", blocking=blocking)
    assert server.reload(changed(server, handler=handler)) == ["handler"]
    new = connect(server)
    for peer, mark in ((old, b"1"), (new, b"2")):
        peer.send(b"x")
        assert peer.read(2) == b"x" + mark
    assert log.lines("reloaded")[0]["changed"] == ["handler"]
    assert server.stats().reloads == 1


def test_an_idle_timeout_holds_for_open_connections_too(serve, connect, log):
    server = serve(idle_timeout=0)
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    server.reload(changed(server, idle_timeout=0.2))
    assert peer.read_to_break() == b""
    assert log.ended(peer)["reason"] == "idle"


def test_the_limit_of_connections_can_be_raised_and_lowered(serve, connect):
    server = serve(max_connections=2)
    inside = [connect(server) for _ in range(2)]
    for peer in inside:
        assert peer.exchange(b"in") == b"in"
    waiting = connect(server)
    waiting.send(b"now?")
    wait_for(lambda: server.stats().held, "the acceptor does not wait")
    server.reload(changed(server, max_connections=3))
    assert waiting.read(4) == b"now?"
    server.reload(changed(server, max_connections=1))
    for peer in (*inside, waiting):
        assert peer.exchange(b"still in") == b"still in", "nobody loses a place"
    late = connect(server)
    late.send(b"late")
    for peer in (*inside, waiting):
        assert server.stats().accepted == 3
        peer.close()
    assert late.read(4) == b"late"
    late.close()
    wait_until_idle(server)
    assert server._admission.places.free == 1


def test_the_limit_of_a_host_and_who_is_exempt_change(serve, connect):
    server = serve(max_connections_per_host=1)
    first = connect(server)
    assert first.exchange(b"in") == b"in"
    assert connect(server).read_to_break() == b""
    server.reload(changed(server, max_connections_per_host=2))
    second = connect(server)
    assert second.exchange(b"in") == b"in"
    assert connect(server).read_to_break() == b""
    server.reload(changed(server, trusted=["127.0.0.0/8"]))
    assert connect(server).exchange(b"in") == b"in"
    server.reload(changed(server, max_connections_per_host=0, trusted=[]))
    assert connect(server).exchange(b"in") == b"in"


def test_at_the_limit_peers_are_rejected_from_then_on(serve, connect):
    server = serve(max_connections=1)
    inside = connect(server)
    assert inside.exchange(b"in") == b"in"
    server.reload(changed(server, at_limit="reject"))
    assert connect(server).read_to_break() == b""
    assert server.stats().rejected == 1


@every_way
def test_faults_begin_and_end(serve, connect, dispatch, log):
    server = serve(scripted(blocking=dispatch != "inline"), dispatch=dispatch)
    old = connect(server)
    assert old.exchange(b"hello") == b"hello"
    server.reload(changed(server, fault=["delay=10ms", "close@msg 2"], fault_seed=7))
    new = connect(server)
    assert new.exchange(b"hello") == b"hello"
    new.send(b"again")
    new.read_to_break()
    assert log.ended(new)["reason"] == "fault"
    assert old.exchange(b"no fault here") == b"no fault here"
    counts = dict(server.stats().faults or {})
    assert counts["delay"] >= 1
    server.reload(changed(server, fault=[], fault_seed=0))
    assert connect(server).exchange(b"hello") == b"hello"
    assert server.stats().faults == counts, "counters never fall"


@every_way
def test_a_rate_limit_begins_and_ends(serve, connect, dispatch):
    server = serve(scripted(blocking=dispatch != "inline"), dispatch=dispatch)
    server.reload(changed(server, rate_limit="20/s", rate_burst="1"))
    slow = connect(server)
    for _ in range(3):
        assert slow.exchange(b"slow") == b"slow"
    assert server.connections()[0].bucket is not None
    server.reload(changed(server, rate_limit="0", rate_burst="0"))
    fast = connect(server)
    assert fast.exchange(b"fast") == b"fast"
    assert server.connections()[1].bucket is None


OTHERS = {
    "host": "127.0.0.2",
    "port": 1,
    "listen": ["tcp://127.0.0.1:1"],
    "mode": None,
    "workers": 3,
    "queue_size": 7,
    "queue_order": "lifo",
    "dispatch": "queue",
    "cores": "all",
    "backlog": 7,
    "log_format": "json",
    "processes": 2,
    "retire_timeout": 1,
    "admin": "unix:/run/admin.sock",
    "admin_token_file": "token",
}


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_cannot_change_is_refused_by_name(serve, connect, log, name):
    server = serve()
    peer = connect(server)
    before = server.config
    value = OTHERS[name] if name != "mode" else {"threads": "workers", "workers": "threads"}[before.mode]
    after = changed(server, **{name: value}, **({"port": 9000} if name == "listen" else {}))
    with pytest.raises(ConfigError, match=rf"^(port|{name}): can't change from .* restart it"):
        server.reload(after)
    assert server.config is before
    assert "can't change" in log.lines("not reloaded")[0]["reason"]
    assert server.stats().failed_reloads == 1
    assert peer.exchange(b"hello") == b"hello"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"handler": "nowhere:nothing"}, "nowhere"),
        ({"handler": "shout"}, "shout"),
        ({"handler_options": {"loud": True}}, "loud"),
        ({"fault_file": "/nowhere/faults.toml"}, "fault_file|/nowhere"),
    ],
)
def test_what_cannot_be_loaded_changes_nothing(serve, connect, values, problem):
    server = serve()
    before = server.config
    with pytest.raises(ConfigError, match=problem):
        server.reload(changed(server, idle_timeout=1, **values))
    assert server.config is before
    assert connect(server).exchange(b"hello") == b"hello"


@pytest.mark.parametrize("mode", ["workers"])
def test_a_handler_that_needs_other_threads_is_refused(serve, connect):
    server = serve(handler="echo")
    with pytest.raises(ConfigError, match=r"handler: can't change to .*: workers call it, and the poller"):
        server.reload(changed(server, handler=scripted(blocking=True)))
    assert connect(server).exchange(b"hello") == b"hello"


def test_reloads_lose_no_connection(serve, connect):
    """Peers come and go while the configuration changes as fast as it can."""
    server = serve()
    ending = threading.Event()
    failures: list[BaseException] = []

    def come_and_go() -> None:
        while not ending.is_set():
            try:
                with Peer(server.address) as peer:
                    assert peer.swap(b"hello") == b"hello"
            except (AssertionError, OSError) as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        server.reload(changed(server, idle_timeout=10 + number, max_connections=100 + number, rate_limit="0"))
    ending.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert server.stats().reloads == 20


# -- the command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "echo.toml"


def write(path: Path, **values: Any) -> None:
    path.write_text(tomli_w.dumps({"port": 0, "log_format": "json", **values}))


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_the_command_reads_its_file_and_its_handler_again(tmp_path, file, mode):
    (tmp_path / "shout.py").write_text("def feed(data):\n    return data.upper()\n")
    write(file, mode=mode, handler="shout:feed")
    with Program("serve", "--config", file, cwd=tmp_path) as program:
        program.wait_for("listening")
        with connected(program) as old:
            assert exchange(old, b"hello") == b"HELLO"
            (tmp_path / "shout.py").write_text("def feed(data):\n    return data.title()[::-1]\n")
            write(file, mode=mode, handler="shout:feed", log_level="debug", max_lifetime="1h")
            program.send_signal(signal.SIGHUP)
            assert program.wait_for("reloaded")["changed"] == ["max_lifetime", "log_level"]
            with connected(program) as new:
                assert exchange(new, b"hello") == b"olleH"
            assert exchange(old, b"again") == b"AGAIN"
            with connected(program):
                pass
            assert program.wait_for("connection ended", bytes_in=0)["level"] == "debug"
            (tmp_path / "shout.py").write_text("not Python")
            program.send_signal(signal.SIGHUP)
            assert "shout" in program.wait_for("not reloaded")["reason"]
            with connected(program) as newest:
                assert exchange(newest, b"hello") == b"olleH"


def test_a_file_that_is_wrong_is_refused_in_one_line(tmp_path, file):
    write(file)
    with Program("serve", "--config", file, cwd=tmp_path) as program:
        program.wait_for("listening")
        for content, reason in (("idle_timeout = 30", "30"), ("nonsense", "echo.toml"), ("port = 1\n", "port")):
            file.write_text(content)
            program.send_signal(signal.SIGHUP)
            assert reason in program.wait_for("not reloaded")["reason"]
        file.unlink()
        program.send_signal(signal.SIGHUP)
        assert "echo.toml" in program.wait_for("not reloaded")["reason"]
        with connected(program) as peer:
            assert exchange(peer, b"hello") == b"hello"
        program.send_signal(signal.SIGTERM)
        assert program.finish() == 0


def test_the_statistics_can_be_turned_on():
    with Service(ECHOSERVER_STATS_INTERVAL="0") as service:
        service.send_signal(signal.SIGHUP)
        assert service.wait_for("reloaded")["changed"] == []
