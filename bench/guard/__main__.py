"""The command `python -m bench.guard COMMIT`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from bench import native
from bench.certificate import certificate
from bench.guard.pairs import ROOT, Effort, UnknownCommitError, compare, worktree
from bench.guard.verdict import LOSS, Cell
from bench.running import ServerFailedError
from bench.servers import SERVERS
from bench.workloads import WORKLOADS

_WORKLOADS = ("64x64", "4x64k", "churn", "tls-64x64", "tls-4x64k")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("commit")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=Effort.rounds, show_default=True, help="Rounds for each cell."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.02, 10),
    default=Effort.seconds,
    show_default=True,
    help="How long a load takes.",
)
@click.option(
    "--at-most",
    type=click.FloatRange(0),
    default=Effort.at_most,
    show_default=True,
    help="When the last may begin.",
)
def main(commit: str, rounds: int, seconds: float, at_most: float) -> NoReturn:
    """Compare the working tree with COMMIT by what a message costs.

    The exit status is 1 if any cell needs more than 3 % more processor time per
    message than at the commit, with one line for each, and 2 if nothing can be
    measured here. It takes up to two minutes.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.platform != "linux" or native.program("loadgen") is None:
        raise click.UsageError("the guard needs Linux and a C compiler: it counts processor time under a load from C")
    try:
        with worktree(commit) as base:
            cells = _cells(base)
            compare((base, ROOT), cells, Effort(rounds, seconds, at_most))
    except UnknownCommitError as error:
        raise click.UsageError(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)
    except ServerFailedError as error:
        click.echo(f"bench-guard: {error}", err=True)
        sys.exit(2)
    for cell in cells:
        click.echo(cell.line())
    lost = [cell for cell in cells if cell.lost]
    for cell in lost:
        click.echo(f"LOST {cell.ratio - 1:.1%}: {cell.name}: more than {LOSS:.0%} against {commit}")
    sys.exit(1 if lost else 0)


def _cells(base: Path) -> list[Cell]:
    """Return what is compared: each mode of the server, with TLS where both trees and this machine have it."""
    tls = native.has_tls() and certificate() is not None and (base / "echoserver" / "net" / "tls.py").exists()
    workloads = [WORKLOADS[name] for name in _WORKLOADS if tls or not WORKLOADS[name].traffic.tls]
    servers = [server for server in SERVERS.values() if server.is_echoserver]
    return [Cell(server, workload) for server in servers for workload in workloads]


if __name__ == "__main__":
    main(prog_name="python -m bench.guard")
