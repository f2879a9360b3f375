"""From pairs of measurements to a verdict."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from bench.servers import Server
from bench.workloads import Workload

LOSS = 0.03
"""The loss that is one: 3 % more processor time per message."""
# A median can be beyond the limit by chance while the machine is busy with something else. So the rounds must agree
# that there is a loss; of so many, one may not.
_ROUNDS_PER_MISS = 12


@dataclass
class Cell:
    """One server in one workload: what both trees needed, round by round.

    Attributes
    ----------
    server:
        The server.
    workload:
        The workload.
    before:
        µs of processor time per message at the commit.
    after:
        The same in the working tree.
    """

    server: Server
    workload: Workload
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name, for the reader."""
        return f"{self.server.name}, {self.workload.title}"

    @property
    def ratios(self) -> list[float]:
        """What the working tree needs as a ratio to the commit, round by round."""
        return [new / old for old, new in zip(self.before, self.after, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def agreed(self) -> bool:
        """Whether the rounds agree that there is a loss."""
        misses = sum(ratio <= 1 for ratio in self.ratios)
        return misses <= len(self.ratios) // _ROUNDS_PER_MISS

    @property
    def suspicious(self) -> bool:
        """Whether more rounds are needed to tell."""
        return self.agreed and self.ratio > 1 + LOSS / 2

    @property
    def lost(self) -> bool:
        """Whether the working tree has lost more than the limit."""
        return self.agreed and self.ratio > 1 + LOSS

    def line(self) -> str:
        """Return the figures as a line of text."""
        before, after = statistics.median(self.before), statistics.median(self.after)
        return f"{self.name:54} {before:8.2f} {after:8.2f} µs  × {self.ratio:.3f}  {len(self.before)} rounds"
