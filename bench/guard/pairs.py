"""Measuring two trees in pairs.

The load goes to one and then to the other, in the order ABBA: a machine that becomes slower in the middle of a round
affects both alike. Each round has new processes: where one has its memory makes a difference of a few percent.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from bench import generator
from bench.certificate import certificate
from bench.guard.verdict import Cell
from bench.running import RunningServer, ServerFailedError, running, wait_for_reply
from bench.servers import Server
from bench.workloads import Workload

ROOT = Path(__file__).parents[2]
_ATTEMPTS = 5


class UnknownCommitError(Exception):
    """There is no such commit, or no repository; the message is one line."""


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure.

    Attributes
    ----------
    rounds:
        Rounds for every cell.
    seconds:
        How long one load takes.
    at_most:
        Until when, in seconds after the start, a cell that may have lost gets one more round.
    """

    rounds: int = 5
    seconds: float = 0.08
    at_most: float = 95.0


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out beside the working tree, and remove it however the block ends.

    Raises
    ------
    UnknownCommitError
        That is not possible.
    """
    with tempfile.TemporaryDirectory(prefix="bench-guard-") as folder:
        tree = Path(folder) / "base"
        added = _git("worktree", "add", "--detach", str(tree), commit)
        if added.returncode != 0:
            raise UnknownCommitError(f"{commit!r} can't be checked out: {added.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - git, as it is installed


def compare(trees: Sequence[Path], cells: Sequence[Cell], effort: Effort) -> None:
    """Measure all cells, and then those that may have lost until there is no time left.

    Raises
    ------
    ServerFailedError
        A server did not start, or did not answer.
    KeyboardInterrupt
        On Ctrl-C.
    """
    began = time.monotonic()
    chosen, number = list(cells), 0
    while number < effort.rounds or (chosen and time.monotonic() - began < effort.at_most):
        # The cells of one server are neighbours, those with TLS last.
        for _, group in groupby(chosen, key=lambda cell: (cell.server.name, cell.workload.traffic.tls)):
            _round(list(group), trees, effort.seconds, swap=bool(number % 2))
        number += 1
        if number >= effort.rounds:
            chosen = [cell for cell in chosen if cell.suspicious]


def _round(cells: Sequence[Cell], trees: Sequence[Path], seconds: float, *, swap: bool) -> None:
    """Start a server of both trees, and measure some cells of it once."""
    before, after = (_of_tree(cells[0].server, tree) for tree in trees)
    secret = certificate() if cells[0].workload.traffic.tls else None
    with running(before, certificate=secret) as old, running(after, certificate=secret) as new:
        wait_for_reply(old)
        wait_for_reply(new)
        pair = (new, old) if swap else (old, new)
        for cell in cells:
            costs: dict[int, list[float]] = {old.port: [], new.port: []}
            for target in (*pair, *reversed(pair)):
                costs[target.port].append(_cost(cell.workload, target, seconds))
            cell.before.append(statistics.mean(costs[old.port]))
            cell.after.append(statistics.mean(costs[new.port]))


def _of_tree(server: Server, tree: Path) -> Server:
    """Return a server that imports its modules from a tree."""
    search = ("env", f"PYTHONPATH={tree}:{tree / 'client'}")
    return replace(server, command=(*search, *server.command), tls=(*search, *server.tls))


def _cost(workload: Workload, server: RunningServer, seconds: float) -> float:
    """Return the µs of processor time per message. A busy machine may not let a server run in so short a time."""
    for _ in range(_ATTEMPTS):
        sample = generator.apply(workload, server, seconds)
        if not sample.problem and sample.cpu is not None:
            return sample.cpu
    raise ServerFailedError(f"{workload.title}: {sample.problem or 'the kernel does not tell the processor time'}")
