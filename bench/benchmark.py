"""A whole benchmark: every server runs every workload, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.certificate import certificate
from bench.measure import IMPORTS, measure, measure_imports, raise_file_limit
from bench.native import has_tls
from bench.running import ServerFailedError
from bench.sample import Sample
from bench.servers import Server
from bench.workloads import Workload
from echoclient.errors import ClientError

Samples = dict[str, dict[str, list[Sample]]]
"""By workload and server: one sample per round, in order."""


@dataclass(frozen=True)
class Settings:
    """What to measure, and how thoroughly.

    Attributes
    ----------
    workloads:
        In the order of the report.
    servers:
        In the order of the report.
    rounds:
        How often each server runs each workload.
    seconds:
        How long one measurement under load takes.
    baseline:
        The server that the others are compared with.
    """

    workloads: Sequence[Workload]
    servers: Sequence[Server]
    rounds: int
    seconds: float
    baseline: str

    def baseline_of(self, workload: Workload) -> str:
        """Return the name of what a workload's figures are compared with."""
        return IMPORTS if workload.kind == "start" else self.baseline


@dataclass
class Benchmark:
    """What has been measured so far.

    Attributes
    ----------
    settings:
        What was asked for.
    samples:
        What was measured.
    skipped:
        The workloads that this machine can't run, with the reason.
    """

    settings: Settings
    samples: Samples = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


Progress = Callable[[int, Workload, str, float], None]
"""Called before each measurement: the round, counted from 1; the workload; the server; the share of the work done."""


def run(benchmark: Benchmark, progress: Progress) -> None:
    """Measure everything. Samples go into the benchmark one by one, so Ctrl-C loses none of them.

    The rounds are the outermost loop, so that a machine that becomes slower or faster affects every server alike.
    Within a round, the servers run a workload directly after one another. Each round starts with a different server.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C.
    """
    settings = benchmark.settings
    for workload in settings.workloads:
        if reason := _why_impossible(workload):
            benchmark.skipped[workload.name] = reason
    steps = [step for step in _steps(settings) if step[1].name not in benchmark.skipped]
    total = sum(_estimated_seconds(workload, settings) for _, workload, _ in steps)
    done = 0.0
    for number, workload, server in steps:
        name = server.name if server else IMPORTS
        progress(number, workload, name, done / total)
        sample = _measure(workload, server, settings)
        benchmark.samples.setdefault(workload.name, {}).setdefault(name, []).append(sample)
        done += _estimated_seconds(workload, settings)


def _steps(settings: Settings) -> Iterator[tuple[int, Workload, Server | None]]:
    """Yield the measurements in order: the round, the workload, and the server, or ``None`` for the bare imports."""
    for index in range(settings.rounds):
        for workload in settings.workloads:
            if index >= workload.max_rounds:
                continue
            if workload.kind == "start":
                yield index + 1, workload, None
            servers = [server for server in settings.servers if server.serves(workload)]
            first = index % max(len(servers), 1)
            for server in [*servers[first:], *servers[:first]]:
                yield index + 1, workload, server


def _measure(workload: Workload, server: Server | None, settings: Settings) -> Sample:
    if server is None:
        return measure_imports()
    try:
        return measure(workload, server, settings.seconds)
    except (ServerFailedError, ClientError) as error:
        return Sample(problem=str(error))


def _why_impossible(workload: Workload) -> str:
    """Return why this machine can't run a workload, or nothing if it can."""
    if workload.kind == "idle" and not Path("/proc/self/status").exists():
        return "there is no /proc to read a process's memory from"
    if workload.traffic.tls and not has_tls():
        return "the load generator has TLS only with a C compiler and OpenSSL's headers (libssl-dev)"
    if workload.traffic.tls and certificate() is None:
        return "the command openssl, which makes the certificate, is not there"
    return raise_file_limit(workload.traffic.connections)


def _estimated_seconds(workload: Workload, settings: Settings) -> float:
    """Estimate how long a measurement takes; only the progress bar depends on it."""
    if workload.kind == "start":
        return 0.5
    if workload.kind == "idle":
        return 0.5 + workload.traffic.connections / 2500
    return settings.seconds + 0.8
