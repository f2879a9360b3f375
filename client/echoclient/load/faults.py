"""What went wrong, counted by kind, with the first few of each kind told in full."""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass
from typing import Any

from echoclient.errors import from_os_error

# Of each kind, this many are told in full; the rest are only counted.
EXAMPLES = 3

# Kinds beside the words of `echoclient.errors`.
TIMEOUT = "TIMEOUT"  # nothing of a reply, or no connection, within the time limit
CLOSED = "CLOSED"  # the server ended the connection where a reply was due
SHORT = "SHORT"  # a reply began and did not end
CORRUPT = "CORRUPT"  # a byte came back that is not the one expected
EXTRA = "EXTRA"  # more bytes came back than were sent


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong.

    Attributes:
        kind: the word that scripts match.
        connection: the connection's number, from 0, counted over all processes.
        offset: of the connection's replies, the byte at which it went wrong, from 0.
        at: seconds since measuring started; ``None`` before that.
        detail: what was seen, in words.
    """

    kind: str
    connection: int
    offset: int
    at: float | None
    detail: str


class FaultLog:
    """Counts of faults by kind, and the first of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Count a fault, and keep it if it is one of the first of its kind."""
        seen = self.counts.get(fault.kind, 0)
        self.counts[fault.kind] = seen + 1
        if seen < EXAMPLES:
            self.examples.append(fault)

    def merge(self, other: FaultLog) -> None:
        """Add another process's faults."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        merged = sorted(self.examples + other.examples, key=lambda fault: fault.at or 0.0)
        self.examples = [
            fault
            for index, fault in enumerate(merged)
            if sum(earlier.kind == fault.kind for earlier in merged[:index]) < EXAMPLES
        ]

    @property
    def total(self) -> int:
        """All faults of all kinds."""
        return sum(self.counts.values())

    @staticmethod
    def from_json(values: dict[str, Any]) -> FaultLog:
        """Read what `to_json` wrote.

        Raises:
            TypeError, KeyError, AttributeError: it did not.
        """
        log = FaultLog()
        log.counts = {str(kind): int(count) for kind, count in values["counts"].items()}
        log.examples = [Fault(**example) for example in values["examples"]]
        return log

    def to_json(self) -> dict[str, object]:
        """Return the log as JSON holds it."""
        return {"counts": self.counts, "examples": [asdict(fault) for fault in self.examples]}


def kind_of(error: OSError) -> tuple[str, str]:
    """Return the kind of what a socket call met, and its text."""
    if error.errno == errno.EADDRNOTAVAIL:
        return "OTHER", "no local port is free, after so many closed connections; --source brings more"
    known = from_os_error(error, "")
    return known.word, known.detail.removeprefix(": ")
