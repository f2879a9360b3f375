"""The command `python -m bench`: its options, its progress and its output."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TextIO, TypeVar

import click

from bench import page
from bench.benchmark import Benchmark, Settings, run
from bench.json_report import to_json
from bench.machine import describe
from bench.progress import ProgressLine
from bench.servers import SERVERS, Server
from bench.tables import terminal_report
from bench.workloads import WORKLOADS, Workload

_INTERRUPTED = 130
_ROUNDS, _SECONDS = 5, 0.5
_BASELINE = "uvloop"
# What `--quick` means.
_QUICK_ROUNDS, _QUICK_SECONDS = 1, 0.25
_QUICK_WORKLOADS = ("1x64", "64x64", "4x64k", "tls-64x64", "churn", "start")
T = TypeVar("T")


def _choose(known: Mapping[str, T], text: str) -> list[T]:
    """Return the values that a comma-separated list of names selects, in the order of the table.

    Raises
    ------
    BadParameter
        A name is unknown; the message lists the known ones.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of: {', '.join(known)}")
    return [value for name, value in known.items() if name in names]


def _workloads(_context: click.Context, _option: click.Parameter, text: str | None) -> list[Workload] | None:
    return None if text is None else _choose(WORKLOADS, text)


def _servers(_context: click.Context, _option: click.Parameter, text: str | None) -> list[Server]:
    if text is None:
        for server in SERVERS.values():
            if not server.installed:
                click.echo(f"{server.name} is skipped: {_how_to_install(server)}", err=True)
        return [server for server in SERVERS.values() if server.installed]
    servers = _choose(SERVERS, text)
    for server in servers:
        if not server.installed:
            raise click.BadParameter(_how_to_install(server))
    return servers


def _how_to_install(server: Server) -> str:
    if server.needs == "cc":
        return f"{server.name} could not be built; install a C compiler"
    if server.needs == "socat":
        return "socat is not installed; use the system's package manager"
    return f"{server.needs} is not installed; run pip install 'echoserver[bench]', or use make bench"


def _page(_context: click.Context, _option: click.Parameter, name: str | None) -> Path | None:
    if name is None:
        return None
    try:
        page.check(Path(name))
    except page.PageError as error:
        raise click.BadParameter(str(error)) from None
    return Path(name)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--workloads",
    metavar="NAMES",
    callback=_workloads,
    help=f"The workloads to run, separated by commas: {', '.join(WORKLOADS)}.  [default: all]",
)
@click.option(
    "--servers",
    metavar="NAMES",
    callback=_servers,
    help=f"The servers to compare, separated by commas: {', '.join(SERVERS)}.  [default: all]",
)
@click.option(
    "--baseline", metavar="NAME", help="The server that ratios refer to.  [default: uvloop, or else the first one]"
)
@click.option("--rounds", type=click.IntRange(1, 1000), help="How often to run each workload.  [default: 5; quick: 1]")
@click.option(
    "--seconds", type=click.FloatRange(0.05, 600), help="How long to apply each load.  [default: 0.5; quick: 0.25]"
)
@click.option("--quick", is_flag=True, help="Run a few workloads once and briefly, to see that everything works.")
@click.option(
    "--page", "destination", metavar="FILE.md", callback=_page, help="Write the results into this page, with a chart."
)
@click.option(
    "--json", "json_file", metavar="FILE|-", type=click.File("w", lazy=False), help="Write every sample as JSON."
)
def main(
    workloads: list[Workload] | None,
    servers: list[Server],
    baseline: str | None,
    rounds: int | None,
    seconds: float | None,
    quick: bool,
    destination: Path | None,
    json_file: TextIO | None,
) -> NoReturn:
    """Measure echoserver and other servers that do the same work.

    Every server runs in a process of its own, and another process applies the
    load. The servers take turns, round after round. The exit status is 0 if
    everything was measured, 1 if something failed, and 130 after Ctrl-C, which
    prints the figures measured so far and leaves the page unchanged.

    \b
    Examples:
      python -m bench --page docs/benchmarks.md
      python -m bench --workloads 64x64,churn --servers threads,workers,socketserver --rounds 7
    """  # noqa: D301 - to click, a backspace means: do not rewrap
    names = [server.name for server in servers]
    baseline = baseline or (_BASELINE if _BASELINE in names else names[0])
    if baseline not in names:
        raise click.BadParameter(
            f"{baseline!r} is not measured: name one of {', '.join(names)}", param_hint="--baseline"
        )
    benchmark = Benchmark(
        Settings(
            workloads=workloads or [WORKLOADS[name] for name in (_QUICK_WORKLOADS if quick else WORKLOADS)],
            servers=servers,
            rounds=rounds or (_QUICK_ROUNDS if quick else _ROUNDS),
            seconds=seconds or (_QUICK_SECONDS if quick else _SECONDS),
            baseline=baseline,
        )
    )
    interrupted = _run(benchmark)
    report = terminal_report(benchmark)
    only_json = json_file is not None and json_file.name == "<stdout>"
    click.echo(report, err=only_json, color=False if os.environ.get("NO_COLOR") else None)
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    machine = describe()
    if json_file is not None:
        json_file.write(json.dumps(to_json(benchmark, machine, command)) + "\n")
    if interrupted:
        click.echo("\nINTERRUPTED: these are the figures measured so far.", err=True)
        sys.exit(_INTERRUPTED)
    if destination is not None:
        page.write(destination, benchmark, machine, command)
        click.echo(f"\nwritten: {', '.join(map(str, [destination, *page.pictures(destination)]))}", err=True)
    failed = any(
        sample.problem
        for of_server in benchmark.samples.values()
        for samples in of_server.values()
        for sample in samples
    )
    sys.exit(1 if failed else 0)


def _run(benchmark: Benchmark) -> bool:
    """Measure everything; return whether SIGINT or SIGTERM interrupted it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = ProgressLine(benchmark.settings.rounds)
    try:
        run(benchmark, progress.show)
    except KeyboardInterrupt:
        return True
    finally:
        progress.clear()
    return False


if __name__ == "__main__":
    main(prog_name="python -m bench")
