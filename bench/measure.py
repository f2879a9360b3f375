"""One measurement: one server runs one workload once."""

from __future__ import annotations

import resource
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bench import cores, generator
from bench.certificate import certificate
from bench.running import HOST, RunningServer, running, wait_for_reply
from bench.sample import Sample
from bench.servers import Server
from bench.workloads import Workload

IMPORTS = "imports"
"""The baseline of the workload ``start``: a process that only imports the libraries."""
IMPORT_STATEMENT = "import click, structlog"

# Descriptors needed besides those of the connections: the server's own, and ours.
_OTHER_FILES = 64
_STARTS = 3
_REPLY_TIMEOUT = 20.0


def measure(workload: Workload, server: Server, seconds: float) -> Sample:
    """Start the server, put it under load for that many seconds, and stop it.

    Raises
    ------
    ServerFailedError
        It did not start, or it exited by itself.
    ClientError
        It does not answer.
    KeyboardInterrupt
        On Ctrl-C.
    """
    if workload.kind == "start":
        return Sample(statistics.median(_start_up_time(server) for _ in range(_STARTS)))
    secret = certificate() if workload.traffic.tls else None
    with running(server, workload.handler, workload.traffic.connections, secret) as started:
        wait_for_reply(started)
        if workload.kind == "idle":
            return _measure_memory(workload, started)
        return generator.apply(workload, started, seconds)


def measure_imports() -> Sample:
    """Time a process that only imports the two libraries that every start of echoserver needs."""
    times = []
    for _ in range(_STARTS):
        started = time.monotonic()
        with cores.on(cores.share().server):
            subprocess.run([sys.executable, "-c", IMPORT_STATEMENT], check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own
        times.append((time.monotonic() - started) * 1000)
    return Sample(statistics.median(times))


def raise_file_limit(connections: int) -> str:
    """Raise the limit on open files, for this process and the servers it starts.

    Returns
    -------
    str
        Why that many connections are not possible; empty if they are.
    """
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return ""
    if hard != resource.RLIM_INFINITY and hard < needed:
        return f"{connections:,} connections need {needed:,} open files, and the limit is {hard:,} (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return ""


def _measure_memory(workload: Workload, server: RunningServer) -> Sample:
    """Measure the memory of idle connections, each after one exchange, so that everything that serves it has run."""
    connections, size = workload.traffic.connections, workload.traffic.size
    before = _resident(server.pid)
    with ExitStack() as stack:
        for _ in range(connections):
            sock = stack.enter_context(socket.create_connection((HOST, server.port), _REPLY_TIMEOUT))
            sock.sendall(bytes(size))
            left = size
            while left:
                if not (data := sock.recv(left)):
                    raise ConnectionResetError("a connection was closed without a reply")
                left -= len(data)
        return Sample((_resident(server.pid) - before) / connections / 1000)


def _resident(pid: int) -> int:
    """Return a process's resident memory in bytes (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _start_up_time(server: Server) -> float:
    with running(server) as started:
        return wait_for_reply(started) * 1000
