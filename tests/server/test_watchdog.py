"""The watchdog of a service manager is told the truth, and a reload is announced and completed."""

from __future__ import annotations

import os
import pty
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from echoserver.process.notify import ServiceManager
from echoserver.process.watchdog import Watchdog
from server.log_lines import LogLines
from support import Program, Service

PATIENCE = 10.0


class Told(ServiceManager):
    def __init__(self) -> None:
        super().__init__({})
        self.messages: list[dict[str, str]] = []

    def tell(self, **state: str) -> None:
        self.messages.append(state)


def watchdog(log: LogLines, **environment: str) -> tuple[Watchdog, Told]:
    told = Told()
    return Watchdog(environment, told, log.logger), told


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "²"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "x"},
    ],
)
def test_without_a_watchdog_of_ours_nothing_is_due(log, environment):
    made, told = watchdog(log, **environment)
    assert made.timeout(None) is None
    assert made.timeout(3.0) == 3.0
    made.look(lambda: pytest.fail("nobody asked"))
    assert told.messages == []


def test_it_is_due_twice_in_the_time_allowed(log):
    made, _ = watchdog(log, WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
    assert 4 < (made.timeout(None) or 0) <= 5
    assert made.timeout(1.0) == 1.0
    assert (made.timeout(60.0) or 60) <= 5


def test_the_variables_are_removed(log):
    environment = {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Watchdog(environment, Told(), log.logger)
    assert environment == {"PATH": "/bin"}


def test_it_is_told_only_that_all_is_well(log):
    made, told = watchdog(log, WATCHDOG_USEC="2")
    answers = iter([[], ["poller"], []])
    for _ in range(3):
        while (made.timeout(None) or 0) > 0:
            pass  # a microsecond
        made.look(lambda: next(answers))
    assert told.messages == [{"WATCHDOG": "1"}] * 2
    assert [line["threads"] for line in log.lines("threads are stuck")] == [["poller"]]


@pytest.fixture
def manager(tmp_path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(str(tmp_path / "notify"))
        yield sock


def next_state(manager: socket.socket, name: str) -> dict[str, str]:
    """Return the next message that has this variable."""
    while True:
        state = dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())
        if name in state:
            return state


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_an_idle_server_keeps_the_watchdog_content(manager, mode):
    with Service("--mode", mode, NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="200000"):
        assert next_state(manager, "READY")["STATUS"].startswith("serving on tcp://127.0.0.1:")
        for _ in range(3):
            next_state(manager, "WATCHDOG")


def test_a_reload_is_announced_and_completed(manager):
    with Service(NOTIFY_SOCKET=manager.getsockname()) as service:
        next_state(manager, "READY")
        service.send_signal(signal.SIGHUP)
        reloading = next_state(manager, "RELOADING")
        assert reloading["RELOADING"] == "1"
        assert 0 < int(reloading["MONOTONIC_USEC"]) < 2**63
        assert next_state(manager, "READY")["READY"] == "1"
        service.wait_for("reloaded")
        service.send_signal(signal.SIGTERM)
        assert next_state(manager, "STOPPING")["STATUS"] == "draining 0 connections"


def test_a_terminal_that_goes_drains_the_server(tmp_path):
    """The kernel sends SIGHUP to the process whose controlling terminal it was."""
    primary, secondary = pty.openpty()
    begin = (
        "import fcntl, os, sys, termios\n"
        f"os.setsid(); fcntl.ioctl({secondary}, termios.TIOCSCTTY, 0); os.close({secondary})\n"
        "command = [sys.executable, '-m', 'echoserver', 'serve', '--port', '0', '--log-format', 'json']\n"
        "os.execv(sys.executable, command)\n"
    )
    try:
        with Program(arguments=[sys.executable, "-c", begin], inherited=(secondary,)) as program:
            os.close(secondary)
            secondary = -1
            program.wait_for("listening")
            program.send_signal(signal.SIGHUP)  # the terminal is there: a reload
            program.wait_for("reloaded")
            os.close(primary)
            primary = -1
            assert program.wait_for("draining")["cause"] == "SIGHUP"
            assert program.finish() == 0
    finally:
        for descriptor in (primary, secondary):
            if descriptor >= 0:
                os.close(descriptor)
