"""The command `python -m bench`: what to measure, how it goes, and where the results go."""

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
from bench.campaign import Campaign, Settings, carry_out
from bench.cells import CELLS, Cell
from bench.machine import describe
from bench.progress import ProgressLine
from bench.records import to_json
from bench.servers import SERVERS, Server
from bench.tables import terminal_report

_INTERRUPTED = 130
_ROUNDS, _SECONDS = 5, 1.0
# What `--quick` stands for.
_QUICK_ROUNDS, _QUICK_SECONDS = 1, 0.25
_QUICK_CELLS = ("1x64", "64x64", "4x64k", "churn", "start")
T = TypeVar("T")


def _chosen(known: Mapping[str, T], text: str) -> list[T]:
    """Return what a list of names stands for, in the order of the table.

    Raises:
        BadParameter: with the names that would be right.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of: {', '.join(known)}")
    return [value for name, value in known.items() if name in names]


def _cells(_context: click.Context, _option: click.Parameter, text: str | None) -> list[Cell] | None:
    return None if text is None else _chosen(CELLS, text)


def _servers(_context: click.Context, _option: click.Parameter, text: str | None) -> list[Server]:
    if text is None:
        for server in SERVERS.values():
            if not server.installed:
                click.echo(f"{server.name} is left out: {_how_to_install(server)}", err=True)
        return [server for server in SERVERS.values() if server.installed]
    servers = _chosen(SERVERS, text)
    for server in servers:
        if not server.installed:
            raise click.BadParameter(_how_to_install(server))
    return servers


def _how_to_install(server: Server) -> str:
    return f"{server.module} is not installed: pip install 'echoserver[bench]', or use make bench"


def _page(_context: click.Context, _option: click.Parameter, name: str | None) -> Path | None:
    if name is None:
        return None
    try:
        page.check(Path(name))
    except page.PageError as error:
        raise click.BadParameter(str(error)) from None
    return Path(name)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--cells", metavar="NAMES", callback=_cells, help=f"What to measure, of: {', '.join(CELLS)}.")
@click.option("--servers", metavar="NAMES", callback=_servers, help=f"Whom to compare, of: {', '.join(SERVERS)}.")
@click.option("--base", metavar="NAME", default="socketserver", show_default=True, help="What ratios are to.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="How often each cell is measured.  [default: 5; quick: 1]")
@click.option(
    "--seconds", type=click.FloatRange(0.05, 600), help="How long a cell is loaded.  [default: 1; quick: 0.25]"
)
@click.option("--quick", is_flag=True, help="A few cells, once and briefly: shows that it works, and no more.")
@click.option(
    "--page", "destination", metavar="FILE.md", callback=_page, help="Write the results into it, and a chart."
)
@click.option(
    "--json", "records", metavar="FILE|-", type=click.File("w", lazy=False), help="Write every sample as JSON."
)
def main(
    cells: list[Cell] | None,
    servers: list[Server],
    base: str,
    rounds: int | None,
    seconds: float | None,
    quick: bool,
    destination: Path | None,
    records: TextIO | None,
) -> NoReturn:
    r"""Measure echoserver beside other servers that do the same work.

    Every server is started as a process of its own and loaded by another;
    they take turns, round after round. Exit status 0 if everything was
    measured, 1 if something failed, 130 after Ctrl-C, which prints what was
    measured until then and leaves the page as it was.

    \b
    Examples:
      python -m bench --page docs/benchmarks.md
      python -m bench --cells 64x64,churn --servers threads,workers,socketserver --rounds 7
    """
    names = [server.name for server in servers]
    if base not in names:
        raise click.BadParameter(f"{base!r} is not measured: name one of {', '.join(names)}", param_hint="--base")
    campaign = Campaign(
        Settings(
            cells=cells or [CELLS[name] for name in (_QUICK_CELLS if quick else CELLS)],
            servers=servers,
            rounds=rounds or (_QUICK_ROUNDS if quick else _ROUNDS),
            seconds=seconds or (_QUICK_SECONDS if quick else _SECONDS),
            base=base,
        )
    )
    interrupted = _carry_out(campaign)
    report = terminal_report(campaign)
    only_json = records is not None and records.name == "<stdout>"
    click.echo(report, err=only_json, color=False if os.environ.get("NO_COLOR") else None)
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    facts = describe()
    if records is not None:
        records.write(json.dumps(to_json(campaign, facts, command)) + "\n")
    if interrupted:
        click.echo("\nINTERRUPTED: the figures are those up to there.", err=True)
        sys.exit(_INTERRUPTED)
    if destination is not None:
        page.write(destination, campaign, facts, command)
        click.echo(f"\nwritten: {destination}, {destination.with_suffix('.svg')}", err=True)
    failed = any(sample.problem for done in campaign.samples.values() for each in done.values() for sample in each)
    sys.exit(1 if failed else 0)


def _carry_out(campaign: Campaign) -> bool:
    """Measure everything; return whether Ctrl-C, or a request to terminate, has cut it short."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = ProgressLine(campaign.settings.rounds)
    try:
        carry_out(campaign, progress.show)
    except KeyboardInterrupt:
        return True
    finally:
        progress.clear()
    return False


if __name__ == "__main__":
    main(prog_name="python -m bench")
