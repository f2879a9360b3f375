"""The command `python -m bench.guard COMMIT`.

Both trees are measured in pairs, in the order ABBA, each round with new processes: where a process has its memory makes
a difference of a few percent, and a machine that becomes slower in the middle of a round affects both alike.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from bench import generator, native
from bench.guard.verdict import LOSS, Cell
from bench.running import RunningServer, ServerFailedError, running, wait_for_reply
from bench.servers import SERVERS, Server
from bench.workloads import WORKLOADS, Workload

_SERVERS = tuple(server for server in SERVERS.values() if server.is_echoserver)
_WORKLOADS = tuple(WORKLOADS[name] for name in ("64x64", "4x64k", "churn"))
_ROOT = Path(__file__).parents[2]
_ROUNDS, _SECONDS = 5, 0.1
# All in all it stays below two minutes: the last round may begin this late.
_LAST_ROUND = 100.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("commit")
@click.option("--rounds", type=click.IntRange(1, 100), default=_ROUNDS, show_default=True, help="Rounds for all cells.")
@click.option(
    "--seconds", type=click.FloatRange(0.02, 10), default=_SECONDS, show_default=True, help="How long one load takes."
)
def main(commit: str, rounds: int, seconds: float) -> NoReturn:
    """Compare the working tree with COMMIT: what does a message cost?

    The exit status is 1 if any cell needs more than 3 % more processor time per
    message than at the commit, with one line for each, and 2 if nothing can be
    measured here. It takes up to two minutes.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.platform != "linux" or native.program("loadgen") is None:
        raise click.UsageError("the guard needs Linux and a C compiler: it counts processor time under a load from C")
    try:
        with _worktree(commit) as base:
            cells = _compare((base, _ROOT), rounds, seconds)
    except KeyboardInterrupt:
        sys.exit(130)
    except ServerFailedError as error:
        click.echo(f"bench-guard: {error}", err=True)
        sys.exit(2)
    lost = [cell for cell in cells if cell.lost]
    for cell in lost:
        click.echo(f"LOST {cell.ratio - 1:.1%}: {cell.server}, {cell.title}: more than {LOSS:.0%} against {commit}")
    sys.exit(1 if lost else 0)


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """Check a commit out beside the working tree, and remove it however the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-guard-") as folder:
        tree = Path(folder) / "base"
        added = _git("worktree", "add", "--detach", str(tree), commit)
        if added.returncode != 0:
            raise click.UsageError(f"{commit!r} can't be checked out: {added.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - git, as it is installed


def _compare(trees: Sequence[Path], rounds: int, seconds: float) -> list[Cell]:
    """Measure all cells, and then those that may have lost until there is no time left."""
    began = time.monotonic()
    cells = {(server, workload): Cell(server.name, workload.title) for server in _SERVERS for workload in _WORKLOADS}
    chosen = list(cells)
    number = 0
    while number < rounds or (chosen and time.monotonic() - began < _LAST_ROUND):
        for server in _SERVERS:
            workloads = [workload for other, workload in chosen if other is server]
            if workloads:
                _round(server, workloads, trees, seconds, cells, swap=bool(number % 2))
        number += 1
        if number >= rounds:
            chosen = [key for key in chosen if cells[key].suspicious]
    for cell in cells.values():
        click.echo(cell.line())
    return list(cells.values())


def _round(
    server: Server,
    workloads: Sequence[Workload],
    trees: Sequence[Path],
    seconds: float,
    cells: dict[tuple[Server, Workload], Cell],
    *,
    swap: bool,
) -> None:
    """Start both servers, and measure some workloads on them once."""
    before, after = (_of_tree(server, tree) for tree in trees)
    with running(before) as old, running(after) as new:
        wait_for_reply(old)
        wait_for_reply(new)
        pair = (new, old) if swap else (old, new)
        for workload in workloads:
            costs: dict[int, list[float]] = {old.port: [], new.port: []}
            for target in (*pair, *reversed(pair)):
                costs[target.port].append(_cost(workload, target, seconds))
            cell = cells[server, workload]
            cell.before.append(statistics.mean(costs[old.port]))
            cell.after.append(statistics.mean(costs[new.port]))


def _of_tree(server: Server, tree: Path) -> Server:
    """Return a server that imports its modules from a tree."""
    return replace(server, command=("env", f"PYTHONPATH={tree}:{tree / 'client'}", *server.command))


def _cost(workload: Workload, server: RunningServer, seconds: float) -> float:
    sample = generator.apply(workload, server, seconds)
    if sample.problem or sample.cpu is None:
        raise ServerFailedError(sample.problem or "the kernel does not tell the processor time")
    return sample.cpu


if __name__ == "__main__":
    main(prog_name="python -m bench.guard")
