"""The guard: its verdict, and one run in miniature."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from bench import native
from bench.guard.pairs import Effort, compare, worktree
from bench.guard.verdict import Cell
from bench.servers import SERVERS
from bench.workloads import WORKLOADS
from support import PATIENCE, ROOT, environment

WORKTREES = ["git", "-C", str(ROOT), "worktree", "list"]
CAN_GUARD = (
    sys.platform == "linux"
    and native.compiler() is not None
    and shutil.which("git") is not None
    and subprocess.run(WORKTREES, capture_output=True, check=False).returncode == 0
)


def cell(*ratios: float) -> Cell:
    return Cell(SERVERS["workers"], WORKLOADS["64x64"], [10.0] * len(ratios), [10 * ratio for ratio in ratios])


@pytest.mark.parametrize(
    ("ratios", "suspicious", "lost"),
    [
        ([1.0, 1.01, 0.99], False, False),
        ([1.04, 1.05, 1.06], True, True),
        ([1.02, 1.025, 1.029], True, False),
        ([0.9, 0.8, 0.9], False, False),
        # One round says the opposite: the machine is too busy to call it a loss, unless there are many rounds.
        ([1.2, 1.2, 0.9], False, False),
        ([*[1.1] * 10, 0.9], False, False),
        ([*[1.1] * 11, 0.9], True, True),
    ],
)
def test_a_loss_is_more_than_three_percent_and_most_rounds_agree(ratios, suspicious, lost):
    made = cell(*ratios)
    assert (made.suspicious, made.lost) == (suspicious, lost)


def test_a_cell_is_one_line():
    line = cell(1.1, 1.1).line()
    assert re.sub(" +", " ", line) == "workers, 64 connections × 64 B 10.00 11.00 µs × 1.100 2 rounds"


@pytest.mark.skipif(not CAN_GUARD, reason="needs Linux, git with its history and a C compiler")
def test_an_unknown_commit_is_refused():
    finished = subprocess.run(
        [sys.executable, "-m", "bench.guard", "no-such-commit"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert finished.returncode == 2
    assert "'no-such-commit' can't be checked out" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.skipif(not CAN_GUARD, reason="needs Linux, git with its history and a C compiler")
def test_both_trees_are_measured_and_the_worktree_is_gone_afterwards():
    cells = [Cell(SERVERS["workers"], WORKLOADS[name]) for name in ("64x64", "churn")]
    with worktree("HEAD") as base:
        assert str(base) in subprocess.run(WORKTREES, capture_output=True, text=True, check=True).stdout
        compare((base, ROOT), cells, Effort(rounds=2, seconds=0.1, at_most=0))
    for made in cells:
        assert len(made.before) == len(made.after) == 2
        assert all(cost > 0 for cost in made.before + made.after)
    assert not base.exists()
    assert str(base) not in subprocess.run(WORKTREES, capture_output=True, text=True, check=True).stdout


def test_only_cells_that_may_have_lost_get_more_rounds(monkeypatch):
    def measured(cells, _trees, _seconds, *, swap):
        for made in cells:
            made.before.append(10.0)
            made.after.append(10.0 if made.workload.name == "churn" else 12.0)

    monkeypatch.setattr("bench.guard.pairs._round", measured)
    monkeypatch.setattr("bench.guard.pairs.time.monotonic", iter(range(100)).__next__)
    cells = [Cell(SERVERS["workers"], WORKLOADS[name]) for name in ("64x64", "churn")]
    compare((ROOT, ROOT), cells, Effort(rounds=3, seconds=0.1, at_most=5))
    assert [len(made.before) for made in cells] == [7, 3]
