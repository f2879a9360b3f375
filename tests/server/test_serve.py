"""`echoserver serve` as a process: what it serves, logs, and does on each signal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess

import pytest

from echoserver.config import default_of
from server.command_kit import HANDLERS, connected, exchange, wait_for_connection
from support import PATIENCE, Service, command, environment


@pytest.fixture
def handlers(tmp_path):
    """Return a folder with a module of handlers, for a process to run in."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


# -- serve


def test_it_serves_says_where_and_drains_on_sigterm():
    with Service() as service:
        with connected(service) as peer:
            assert exchange(peer, b"hello") == b"hello"
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b""
        ended = service.wait_for("connection ended")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
        listening, last = service.events[0], service.events[-1]
    assert listening["event"] == "listening"
    assert listening["address"] == f"127.0.0.1:{listening['port']}"
    assert (listening["handler"], listening["mode"]) == ("echo", default_of("mode"))
    assert (ended["id"], ended["bytes_in"], ended["bytes_out"], ended["replies"], ended["reason"]) == (
        1,
        5,
        5,
        1,
        "eof",
    )
    assert last["event"] == "stopped"
    assert (last["accepted"], last["active"], last["closed"]["eof"], last["cut"]) == (1, 0, 1, [])
    assert last["log_dropped"] == 0


def test_it_stops_on_sigint_as_well():
    with Service() as service:
        service.send_signal(signal.SIGINT)
        assert service.wait_for("draining")["cause"] == "SIGINT"
        assert service.finish() == 0


def test_what_had_arrived_is_answered_before_it_stops(handlers):
    with Service("--handler", "handlers:Slow", cwd=handlers) as service, connected(service) as peer:
        peer.sendall(b"hello")
        wait_for_connection(service, bytes_in=5)
        service.send_signal(signal.SIGTERM)
        assert peer.recv(100) == b"hello"
        assert service.finish() == 0
        assert service.events[-1]["cut"] == []


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)],
)
def test_a_second_signal_cuts(first, second, handlers):
    with (
        Service("--handler", "handlers:stuck", "--drain-timeout", "0", cwd=handlers) as service,
        connected(service) as peer,
    ):
        peer.sendall(b"hello")
        name = wait_for_connection(service, state="handling")["peer"]
        service.send_signal(first)
        service.wait_for("draining", connections=1, cause=first.name)
        service.send_signal(second)
        service.wait_for("cutting", connections=1, cause=second.name)
        assert service.finish() == 0
        assert service.events[-1]["cut"] == [f"1 {name}"]


def test_the_drain_timeout_cuts(handlers):
    with (
        Service("--handler", "handlers:stuck", "--drain-timeout", "1ms", cwd=handlers) as service,
        connected(service) as peer,
    ):
        peer.sendall(b"hello")
        name = wait_for_connection(service, state="handling")["peer"]
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
        assert service.events[-1]["cut"] == [f"1 {name}"]


def test_sigusr1_logs_counters_connections_and_threads():
    with Service() as service, connected(service) as peer:
        assert exchange(peer, b"hello") == b"hello"
        assert exchange(peer, b"again") == b"again"
        service.send_signal(signal.SIGUSR1)
        stats = service.wait_for("stats")
        connection = service.wait_for("connection")
        threads = service.wait_for("threads")
        assert connection["peer"] == "{}:{}".format(*peer.getsockname())
        assert connection["endpoint"] == "tcp://{}:{}".format(*service.address)
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
    assert (stats["accepted"], stats["active"], stats["bytes_in"]) == (1, 1, 10)
    assert (connection["id"], connection["bytes_in"]) == (1, 10)
    # What was sent is counted when it has been sent: of the second reply that may be a moment later than it arrives.
    assert connection["bytes_out"] in (5, 10)
    assert connection["replies"] in (1, 2)
    assert connection["state"] in ("receiving", "sending")
    assert {"MainThread", "acceptor", "janitor", "log-writer", "conn-1"} <= set(threads["names"])


def test_a_flood_of_sigusr1_loses_no_sigterm():
    with Service() as service:
        for _ in range(5000):
            service.send_signal(signal.SIGUSR1)
        service.send_signal(signal.SIGTERM)
        for _ in range(5000):
            service.send_signal(signal.SIGUSR1)
        assert service.finish() == 0
        assert [event["cause"] for event in service.events if event["event"] == "draining"] == ["SIGTERM"]
        assert service.events[-1]["event"] == "stopped"


def test_a_sighup_that_was_ignored_at_the_start_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup(1) does
    try:
        service = Service()
    finally:
        signal.signal(signal.SIGHUP, before)
    with service:
        service.send_signal(signal.SIGHUP)
        service.send_signal(signal.SIGUSR1)
        service.wait_for("threads")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
        assert [event["cause"] for event in service.events if event["event"] == "draining"] == ["SIGTERM"]


def test_the_statistics_are_logged_regularly():
    with Service("--stats-interval", "10ms") as service:
        service.wait_for("stats", accepted=0)
        with connected(service):
            service.wait_for("stats", accepted=1, active=1)
        service.wait_for("stats", active=0)
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_a_health_probe_makes_no_news():
    with Service("--log-level", "debug") as service:
        with connected(service):
            pass
        assert service.wait_for("connection ended")["level"] == "debug"
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_a_handler_that_raises_is_logged_with_its_traceback_and_costs_its_peer_alone(handlers):
    with Service("--handler", "handlers:broken", cwd=handlers) as service:
        with connected(service) as peer:
            assert exchange(peer, b"17") == b""
        ended = service.wait_for("connection ended")
        assert (ended["level"], ended["reason"]) == ("error", "handler")
        assert ended["exception"].endswith("SystemExit: 17")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_on_a_terminal_lines_are_for_people():
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            command("serve", "--port", 0), stdin=slave, stdout=slave, stderr=slave, env=environment()
        )
        os.close(slave)
        try:
            shown = ""
            while "mode=" not in re.sub(r"\x1b\[[0-9;]*m", "", shown):
                assert select.select([master], [], [], PATIENCE)[0]
                shown += os.read(master, 65536).decode()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(master)
    assert "\x1b[" in shown
    assert "{" not in shown


def test_a_log_that_nobody_reads_any_more_does_not_keep_it_from_ending():
    with Service() as service:
        clog = os.open(f"/proc/{service.process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(clog, b"\n")
        except BlockingIOError:
            os.close(clog)
        with connected(service) as peer:
            assert exchange(peer, b"hello") == b"hello"
        service.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0
