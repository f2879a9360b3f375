"""The load: applied by the generator in C, or by the client's own where there is no compiler."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench import accounting, cores
from bench.native import has_tls, program
from bench.running import HOST, RunningServer, ServerFailedError
from bench.sample import PERCENTILES, Sample
from bench.workloads import Workload
from echoclient.load import Plan, run
from echoclient.load.table import error_text
from echoclient.target import Target

_WARMUP = 0.2
# Closed connections keep their ports for a while (TIME_WAIT). A single address would run out of them.
_CHURN_SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
# Beyond the time asked for: opening thousands of connections, and what is in flight at the end.
_GRACE = 30.0
# The generator was the limit if it was busy for this share of the time, while the server was idle for the other one.
_FULL, _IDLE = 0.95, 0.2


def about() -> str:
    """Return which generator applies the load here."""
    if program("loadgen") is None:
        return "`echoclient bench`, in Python: there is no C compiler"
    return f"`bench/loadgen.c`, {'with' if has_tls() else 'without'} TLS"


def apply(workload: Workload, server: RunningServer, seconds: float) -> Sample:
    """Put a server under load.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C.
    """
    path = program("loadgen")
    with cores.on(cores.share().generator):
        return _apply_python(workload, server, seconds) if path is None else _apply(path, workload, server, seconds)


def arguments(workload: Workload, port: int, seconds: float) -> list[str]:
    """Return the options of the generator in C for a workload."""
    traffic, churn = workload.traffic, workload.kind == "churn"
    options = {"-p": port, "-c": traffic.connections, "-s": traffic.size, "-d": traffic.pipeline, "-t": seconds}
    options["-w"] = min(_WARMUP, seconds / 2)
    flags = {"-u": workload.handler == "upper", "-x": churn, "-T": traffic.tls}
    return [*(str(word) for option in options.items() for word in option), *(flag for flag in flags if flags[flag])]


def sample_of(report: str, server_cores: int) -> Sample:
    """Read what the generator in C reports."""
    values = json.loads(report)
    messages, elapsed = values["messages"], values["elapsed"]
    return Sample(
        messages / elapsed,
        values["server_cpu"] / messages * 1e6,
        dict(zip(PERCENTILES, values["latency"], strict=True)),
        values["cpu"] >= _FULL * elapsed and values["server_cpu"] <= (1 - _IDLE) * elapsed * server_cores,
    )


def _apply(path: Path, workload: Workload, server: RunningServer, seconds: float) -> Sample:
    process = subprocess.Popen(  # noqa: S603 - our own program
        [path, *arguments(workload, server.port, seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us; we stop it
    )
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # all connections have been served: a server that forks has done so
            pids = " ".join(map(str, accounting.tree_of(server.pid)))
            output, errors = process.communicate(f"{pids}\n", seconds + _GRACE)
        except subprocess.TimeoutExpired:
            return Sample(problem="the load generator did not end")
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        return Sample(problem=errors.strip() or f"the load generator ended with status {process.returncode}")
    return sample_of(output, len(cores.share().server) or 1)


def _apply_python(workload: Workload, server: RunningServer, seconds: float) -> Sample:
    if workload.traffic.tls:
        raise ServerFailedError("the load generator in Python has no TLS")
    churn, traffic = workload.kind == "churn", workload.traffic
    before = accounting.cpu_seconds(accounting.tree_of(server.pid))
    result = run(
        Plan(
            Target(HOST, server.port),
            connections=traffic.connections,
            smallest=traffic.size,
            largest=traffic.size,
            pipeline=traffic.pipeline,
            duration=seconds,
            churn=churn,
            sources=_CHURN_SOURCES if churn else (),
            expect="upper" if workload.handler == "upper" else "echo",
        )
    )
    after = accounting.cpu_seconds(accounting.tree_of(server.pid))
    if result.interrupted:
        raise KeyboardInterrupt
    if not result.ok or result.latency is None:
        problem = "nothing was answered" if not result.answered else error_text(result)
        return Sample(problem="; ".join([problem, *result.failures]))
    cpu = None if before is None or after is None else (after - before) / result.answered * 1e6
    latency = {percentile: result.latency.percentiles[percentile] for percentile in PERCENTILES}
    return Sample(result.rate, cpu, latency, result.generator_bound)
