"""The parts of the stress tests: servers under tools, crowds that measure latency, hostile peers, and the report.

Every figure is reported together with its bound, whether the bound was met or not.
"""

from __future__ import annotations

import os
import random
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any, Self

import pytest

from echoserver.clock import Deadline
from support import Program, Service, command, environment

PATIENCE = 20.0
FIGURES: list[tuple[str, str, str, str]] = []
"""Test, what was measured, the figure and its bound, in the order of measurement."""

_ABUSE = Path(__file__).parent / "abuse.py"


class Figures:
    """What one test reports."""

    def __init__(self, test: str) -> None:
        self._test = test

    def note(self, what: str, figure: object) -> None:
        """Report a figure that has no bound."""
        FIGURES.append((self._test, what, _shown(figure), ""))

    def hold(self, what: str, figure: float, *, least: float | None = None, most: float | None = None) -> None:
        """Report a figure and assert its bounds."""
        low = "" if least is None else f">= {_shown(least)}"
        high = "" if most is None else f"<= {_shown(most)}"
        FIGURES.append((self._test, what, _shown(figure), " and ".join(filter(None, [low, high]))))
        assert least is None or figure >= least, f"{what}: {figure}, must be at least {least}"
        assert most is None or figure <= most, f"{what}: {figure}, must be at most {most}"


def _shown(figure: object) -> str:
    return f"{figure:.4g}" if isinstance(figure, float) else str(figure)


def tool(name: str) -> str:
    """Return the path of a tool that the test needs; if it is missing, fail and say how to install it."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install strace util-linux")
    return path


# -- servers


class Under(Program):
    """`echoserver serve` started by another program, such as `prlimit` or `strace`."""

    def __init__(self, prefix: list[str], *options: object) -> None:
        started = [*prefix, *command("serve", "--port", 0, "--log-format", "json", *options)]
        super().__init__(arguments=started)
        try:
            self.port: int = self.wait_for("listening")["port"]
        except BaseException:
            self.__exit__()
            raise


class Started(Service):
    """A started server and its port."""

    def __init__(self, *options: object) -> None:
        super().__init__(*options)
        self._next = 0
        self.port: int = self.wait_for("listening")["port"]

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


def stats_of(server: Program) -> dict[str, Any]:
    """Ask a running server for its counters."""
    import signal

    server.send_signal(signal.SIGUSR1)
    return server.wait_for("stats")


def stop(server: Program) -> dict[str, Any]:
    """Stop a server and return its summary; its exit code must be 0."""
    import signal

    server.send_signal(signal.SIGTERM)
    summary = server.wait_for("stopped")
    assert server.finish() == 0
    return summary


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(_status(pid, "VmRSS")) * 1024


def thread_count(pid: int) -> int:
    return int(_status(pid, "Threads"))


def _status(pid: int, key: str) -> str:
    match = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match
    return match[1]


def descriptor_count(pid: int) -> int:
    """Return how many descriptors a process has open, apart from the pipes for bulk data, of which some are kept."""
    return sum(not target.startswith("pipe:") for target in _descriptors(pid))


def _descriptors(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:  # closed in the meantime
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Poll a condition that nothing signals, such as one on /proc; return whether it became true in time."""
    deadline, never = Deadline(seconds), threading.Event()
    while not condition():
        if deadline.expired:
            return False
        never.wait(0.02)
    return True


def pause(seconds: float) -> None:
    """Let time pass where that is the point of the test: a silent peer, or a window to measure over."""
    threading.Event().wait(seconds)


# -- latencies


def p99(latencies: list[float]) -> float:
    assert len(latencies) >= 100, f"only {len(latencies)} replies"
    return statistics.quantiles(latencies, n=100)[98]


class Crowd:
    """Polite peers: each sends a message, reads and verifies the reply, and sends the next one when it is due."""

    def __init__(self, address: tuple[str, int], peers: int = 20, every: float = 0.02, size: int = 64) -> None:
        self._every = every
        self._random = random.Random(1)
        self._size = size
        self.socks: list[socket.socket] = []
        self.served = 0
        try:
            for _ in range(peers):
                self.socks.append(self._connect(address))
        except BaseException:
            self.close()
            raise

    def _connect(self, address: tuple[str, int]) -> socket.socket:
        return socket.create_connection(address, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for sock in self.socks:
            sock.close()

    def measure(self, seconds: float) -> list[float]:
        """Exchange messages for that long and return the latencies; fail if a connection is lost or a byte is wrong."""
        latencies: list[float] = []
        with selectors.DefaultSelector() as selector:
            begin = monotonic()
            # When each peer sends next; for each that waits: its message, the missing part of the reply, when it sent.
            due = {sock: begin + self._every * self._random.random() for sock in self.socks}
            waiting: dict[socket.socket, list[Any]] = {}
            for sock in self.socks:
                sock.settimeout(PATIENCE)
                selector.register(sock, selectors.EVENT_READ)
            while (now := monotonic()) < begin + seconds or waiting:
                if now >= begin + seconds:
                    due.clear()
                for sock in [sock for sock, when in due.items() if when <= now]:
                    del due[sock]
                    message = self._random.randbytes(self._size)
                    waiting[sock] = [message, message, monotonic()]
                    sock.send(message)
                until = min(due.values(), default=now + 0.05)
                for key, _ in selector.select(max(0.0, min(until, now + 0.05) - monotonic())):
                    sock = key.fileobj  # type: ignore[assignment]
                    data = sock.recv(65536)
                    assert data, "the server ended a polite peer's connection"
                    _, missing, sent_at = waiting[sock]
                    assert missing.startswith(data), "a wrong byte"
                    waiting[sock][1] = missing[len(data) :]
                    if not waiting[sock][1]:
                        latencies.append(monotonic() - sent_at)
                        del waiting[sock]
                        due[sock] = max(monotonic(), sent_at + self._every)
                assert monotonic() < begin + seconds + PATIENCE, f"{len(waiting)} replies never came"
        self.served += len(latencies)
        return latencies


def compare(
    measure: Callable[[], list[float]],
    abuse: Callable[[], AbstractContextManager[object]],
    *,
    instead: Callable[[], AbstractContextManager[object]] = nullcontext,
    rounds: int = 5,
) -> tuple[float, float]:
    """Return the p99 latency in seconds without and with the abuse: medians over interleaved rounds."""
    without, under = [], []
    for _ in range(rounds):
        with instead():
            without.append(p99(measure()))
        with abuse():
            under.append(p99(measure()))
    return statistics.median(without), statistics.median(under)


# -- abuse


class Abuser:
    """`abuse.py` in a process of its own, so that it doesn't share an interpreter with the measurement."""

    def __init__(self, kind: str, port: int, *arguments: object) -> None:
        self._process = subprocess.Popen(
            # It stands for another machine, which would not use the server's processor. Hence the low priority.
            ["nice", sys.executable, "-S", str(_ABUSE), kind, str(port), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._output = self._process.stdout
        self._input = self._process.stdin

    def __enter__(self) -> Self:
        assert self._output.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE)
        self._input.close()
        self._output.close()

    def line(self) -> str:
        """Wait for its next line."""
        return self._output.readline().strip()

    def finish(self) -> str:
        """Tell it to end, and return what it reports."""
        self._input.close()
        return self.line()
