"""What went wrong: counted by kind, with the first few of each kind in full."""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass
from typing import Any

from echoclient.errors import from_os_error

# How many of each kind are kept in full; the rest are only counted.
EXAMPLES = 3

# Kinds besides the words of `echoclient.errors`.
TIMEOUT = "TIMEOUT"  # no byte of a reply, or no connection, within the time limit
CLOSED = "CLOSED"  # the server closed the connection
SHORT = "SHORT"  # a reply is incomplete
CORRUPT = "CORRUPT"  # a byte differs from the expected one
EXTRA = "EXTRA"  # more bytes were received than sent


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong.

    Attributes:
        kind: the word that scripts match.
        connection: the connection's number, from 0, over all processes.
        offset: the byte of the connection's replies at which it went wrong, from 0.
        at: seconds since measuring started; ``None`` before that.
        detail: what was observed.
    """

    kind: str
    connection: int
    offset: int
    at: float | None
    detail: str


class FaultLog:
    """Counts of faults by kind, and the first of each kind."""

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
        """The number of faults of all kinds."""
        return sum(self.counts.values())

    @staticmethod
    def from_json(values: dict[str, Any]) -> FaultLog:
        """Read what `to_json` wrote.

        Raises:
            TypeError, KeyError, AttributeError: it is something else.
        """
        log = FaultLog()
        log.counts = {str(kind): int(count) for kind, count in values["counts"].items()}
        log.examples = [Fault(**example) for example in values["examples"]]
        return log

    def to_json(self) -> dict[str, object]:
        """Return the log as JSON values."""
        return {"counts": self.counts, "examples": [asdict(fault) for fault in self.examples]}


def kind_of(error: OSError) -> tuple[str, str]:
    """Return the kind and the text of an error from a socket call."""
    if error.errno == errno.EADDRNOTAVAIL:
        return "OTHER", "no local port is free after so many closed connections: add addresses with --source"
    if error.errno == errno.EAGAIN:  # connect(2) to a unix socket does not wait, unlike that over TCP
        return "OTHER", "the listener's queue is full"
    known = from_os_error(error, "")
    return known.word, known.detail.removeprefix(": ")
