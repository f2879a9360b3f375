"""How a run is going, while it goes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echoclient.load.recorder import edge_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echoclient.load.plan import Plan

# Workers speak twice a second.
_SOON, _LATE = 0.4, 1.0


@dataclass(frozen=True)
class Snapshot:
    """One look at a run.

    Attributes:
        phase: ``connecting``, ``warming up`` or ``measuring``.
        elapsed: seconds since the phase began.
        left: seconds to its end, as far as anybody can tell; ``None`` if nobody can.
        rate: messages answered a second since the last look.
        median: of their latencies, in seconds, to some 3 %; ``None`` if there are none.
        p99: likewise.
        errors: so far.
    """

    phase: str
    elapsed: float
    left: float | None
    rate: float
    median: float | None
    p99: float | None
    errors: int


class Progress:
    """Gathers what the workers say into a snapshot now and then. Used by one thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._phases = ["measuring", *(["warming up"] if plan.warmup else []), "connecting"]
        self._cells: Counter[int] = Counter()
        self._errors: dict[int, int] = {}
        self._done = 0
        self._heard: set[int] = set()
        self._began = self._last = time.monotonic()

    def next_phase(self) -> None:
        """Take note that the workers are told to start the next phase."""
        self._phases.pop()
        self._began = self._last = time.monotonic()

    def add(self, worker: int, values: dict[str, Any]) -> None:
        """Take what a worker says about its last half second."""
        for cell, count in values["cells"]:
            self._cells[cell] += count
            self._done += count
        self._errors[worker] = values["faults"]
        self._heard.add(worker)

    def snapshot(self) -> Snapshot | None:
        """Return a snapshot if it is time for one."""
        now = time.monotonic()
        passed = now - self._last
        # What all of them have said covers the same stretch of time; a worker that says nothing is not waited for.
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
    """Return the seconds below which ``share`` of the latencies in coarse cells lie, to the end of a cell."""
    wanted = share * sum(cells.values())
    passed = 0
    for cell in sorted(cells):
        passed += cells[cell]
        if passed >= wanted:
            return edge_of(cell + 1)
    return None
