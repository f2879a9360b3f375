"""What several processes are for: `python -m bench.processes` compares them with one, for a handler that computes.

The handler computes for a millisecond of processor time a message, in Python, so one process serves at most 1,000
messages a second. The measurements alternate, and server and load generator may use all cores: the share of the
generator's is printed beside the figures.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from bench import accounting
from bench.native import program

HANDLER = "bench.processes:compute"
_MILLISECOND = 0.001
_CONNECTIONS = 16
_START_SECONDS = 20.0


def compute(data: bytes) -> bytes:
    """Compute for a millisecond, and echo."""
    end = time.thread_time() + _MILLISECOND
    while time.thread_time() < end:
        pass
    return data


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Attributes
    ----------
    rate:
        Messages per second.
    generator:
        The load generator's processor time, as a share of the elapsed time.
    server:
        The same of all processes of the server.
    """

    rate: float
    generator: float
    server: float


def measure(mode: str, processes: int, seconds: float) -> Measured:
    """Serve with so many processes, and put them under load."""
    path = program("loadgen")
    if path is None:
        raise click.ClickException("needs a C compiler, for the load generator")
    with _serving(mode, processes) as (pid, port):
        arguments = ["-p", port, "-c", _CONNECTIONS, "-t", seconds, "-w", 0.3]
        with subprocess.Popen(  # noqa: S603 - our own program
            [str(path), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as generator:
            assert generator.stdout is not None
            generator.stdout.readline()
            pids = " ".join(map(str, accounting.tree_of(pid)))
            report = json.loads(generator.communicate(f"{pids}\n")[0])
    elapsed = report["elapsed"]
    return Measured(report["messages"] / elapsed, report["cpu"] / elapsed, report["server_cpu"] / elapsed)


@contextmanager
def _serving(mode: str, processes: int) -> Iterator[tuple[int, int]]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    options = ["--port", port, "--mode", mode, "--processes", processes, "--handler", HANDLER, "--log-level", "error"]
    command = [sys.executable, "-m", "echoserver", "serve", *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    with subprocess.Popen(command, env=environment) as server:  # noqa: S603 - the program that is measured
        try:
            _wait_for(port)
            yield server.pid, port
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise click.ClickException("the server does not listen") from None
            time.sleep(0.05)
        else:
            return


@click.command()
@click.option("--processes", default=2, show_default=True, help="How many processes to compare with one.")
@click.option("--rounds", default=5, show_default=True, help="How often to measure each.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each measurement takes.")
def main(processes: int, rounds: int, seconds: float) -> None:
    """Compare several processes with one, where the handler computes for a millisecond a message.

    Example: python -m bench.processes --processes 4
    """
    for mode in ("threads", "workers"):
        pairs = [(measure(mode, 1, seconds), measure(mode, processes, seconds)) for _ in range(rounds)]
        ratio = statistics.median(many.rate / one.rate for one, many in pairs)
        one, many = (statistics.median(each.rate for each in side) for side in zip(*pairs, strict=True))
        share = statistics.median(each.generator for _, each in pairs)
        used = statistics.median(each.server for _, each in pairs)
        click.echo(
            f"{mode}: 1 process {one:,.0f} messages/s, {processes} processes {many:,.0f}, ratio {ratio:.2f} "
            f"(of a core: server {used:.2f}, generator {share:.3f})"
        )


if __name__ == "__main__":
    main()
