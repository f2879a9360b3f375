"""The progress of a run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echoclient.load.recorder import edge_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echoclient.load.plan import Plan

# Workers report twice a second.
_SOON, _LATE = 0.4, 1.0


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one instant.

    Attributes:
        phase: ``connecting``, ``warming up`` or ``measuring``.
        elapsed: seconds since the phase began.
        left: estimated seconds to its end; ``None`` if that is unknown.
        rate: messages answered per second since the last snapshot.
        median: the median of their latencies, in seconds, to about 3 %; ``None`` if there are none.
        p99: their 99th percentile, likewise.
        errors: the number of errors so far.
    """

    phase: str
    elapsed: float
    left: float | None
    rate: float
    median: float | None
    p99: float | None
    errors: int


class Progress:
    """Combines what the workers report into snapshots. Used by one thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._phases = ["measuring", *(["warming up"] if plan.warmup else []), "connecting"]
        self._cells: Counter[int] = Counter()
        self._errors: dict[int, int] = {}
        self._done = 0
        self._heard: set[int] = set()
        self._began = self._last = time.monotonic()

    def next_phase(self) -> None:
        """Record that the workers start the next phase."""
        self._phases.pop()
        self._began = self._last = time.monotonic()

    def add(self, worker: int, values: dict[str, Any]) -> None:
        """Add what a worker reports about its last half second."""
        for cell, count in values["cells"]:
            self._cells[cell] += count
            self._done += count
        self._errors[worker] = values["faults"]
        self._heard.add(worker)

    def snapshot(self) -> Snapshot | None:
        """Return a snapshot if one is due."""
        now = time.monotonic()
        passed = now - self._last
        # Once all have reported, the reports cover the same time. A worker that does not report is not waited for.
        if passed < (_SOON if len(self._heard) == self._plan.processes else _LATE):
            return None
        self._last = now
        self._heard.clear()
        phase = self._phases[-1]
        elapsed = now - self._began
        snapshot = Snapshot(
            phase,
            elapsed,
            self._left(phase, elapsed),
            self._cells.total() / passed,
            percentile(self._cells, 0.5),
            percentile(self._cells, 0.99),
            sum(self._errors.values()),
        )
        self._cells.clear()
        return snapshot

    def _left(self, phase: str, elapsed: float) -> float | None:
        plan = self._plan
        if phase == "warming up":
            return max(plan.warmup - elapsed, 0)
        if phase == "connecting":
            return None
        if plan.duration is not None:
            return max(plan.duration - elapsed, 0)
        if plan.messages is None or not self._done:
            return None
        return elapsed * max(plan.messages - self._done, 0) / self._done


def percentile(cells: Mapping[int, int], share: float) -> float | None:
    """Return the seconds below which ``share`` of the latencies lie, rounded up to the end of a coarse cell."""
    wanted = share * sum(cells.values())
    passed = 0
    for cell in sorted(cells):
        passed += cells[cell]
        if passed >= wanted:
            return edge_of(cell + 1)
    return None
