"""One measurement: a cell, done once by one server."""

from __future__ import annotations

import resource
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.cells import Cell
from bench.servers import HOST, Running, Server, running, wait_for_reply
from echoclient.load import Plan, run
from echoclient.load.table import error_text
from echoclient.target import Target

PERCENTILES = (50.0, 99.0, 99.9)
IMPORTS = "imports"
"""In the cell ``start``, the figure that the servers are compared with: what the libraries alone take."""
IMPORTED = "import click, structlog"

# Beside the connections: a server's own descriptors, and ours.
_OTHER_FILES = 64
_WARMUP = 0.2
_STARTS = 3
_REPLY_WITHIN = 20.0
# A closed connection keeps its port for a while, on our side: from one address, the ports would run out first.
_CHURN_SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))


@dataclass(frozen=True)
class Sample:
    """What one measurement gave.

    Attributes:
        value: in the cell's unit.
        latency: seconds by percentile, those in `PERCENTILES`; empty where none is measured.
        bound: the generator had no time to spare, so the server may be capable of more.
        problem: why there is no value; one line.
    """

    value: float = 0.0
    latency: dict[float, float] = field(default_factory=dict)
    bound: bool = False
    problem: str = ""


def measure(cell: Cell, server: Server, seconds: float) -> Sample:
    """Start the server, measure it for so long, and end it.

    Raises:
        ServerFailedError: it did not start, or ended by itself.
        ClientError: it does not answer.
        KeyboardInterrupt: Ctrl-C.
    """
    if cell.kind == "start":
        return Sample(statistics.median(_start_up(server) for _ in range(_STARTS)))
    with running(server, cell.handler, cell.connections) as started:
        wait_for_reply(started)
        return _idle(cell, started) if cell.kind == "idle" else _load(cell, started, seconds)


def measure_imports() -> Sample:
    """Time a process that only imports the two libraries every start of echoserver needs."""
    times = []
    for _ in range(_STARTS):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", IMPORTED], check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own
        times.append((time.monotonic() - started) * 1000)
    return Sample(statistics.median(times))


def allow_files(connections: int) -> str:
    """Raise the limit of open files, for us and the servers we start; return why that many are not possible."""
    needed = connections + _OTHER_FILES
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return ""
    if most != resource.RLIM_INFINITY and most < needed:
        return f"{connections:,} connections need {needed:,} open files, and the limit is {most:,} (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
    return ""


def _load(cell: Cell, server: Running, seconds: float) -> Sample:
    churn = cell.kind == "churn"
    result = run(
        Plan(
            Target(HOST, server.port),
            connections=cell.connections,
            smallest=cell.size,
            largest=cell.size,
            pipeline=cell.pipeline,
            duration=seconds,
            churn=churn,
            sources=_CHURN_SOURCES if churn else (),
            expect="upper" if cell.handler == "upper" else "echo",
            # Every connection of a churn is a fresh one: there is none to warm up.
            warmup=0.0 if churn else min(_WARMUP, seconds),
        )
    )
    if result.interrupted:
        raise KeyboardInterrupt
    if not result.ok or result.latency is None:
        problem = "nothing was answered" if not result.answered else error_text(result)
        return Sample(problem="; ".join([problem, *result.failures]))
    latency = {percentile: result.latency.percentiles[percentile] for percentile in PERCENTILES}
    return Sample(result.rate, latency, result.generator_bound)


def _idle(cell: Cell, server: Running) -> Sample:
    """Let every connection have one message answered, so that whatever serves it has run, and look at the memory."""
    before = _resident(server.pid)
    with ExitStack() as connections:
        for _ in range(cell.connections):
            sock = connections.enter_context(socket.create_connection((HOST, server.port), _REPLY_WITHIN))
            sock.sendall(bytes(cell.size))
            left = cell.size
            while left:
                if not (data := sock.recv(left)):
                    raise ConnectionResetError("a connection was closed without its reply")
                left -= len(data)
        return Sample((_resident(server.pid) - before) / cell.connections / 1000)


def _resident(pid: int) -> int:
    """Return a process's resident memory in bytes (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _start_up(server: Server) -> float:
    with running(server) as started:
        return wait_for_reply(started) * 1000
