"""What can be asked of a running server, and done to it. HTTP, the commands and SIGUSR1 use this and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from echoserver.admin.answers import (
    ConnectionDetails,
    Connections,
    Draining,
    Faults,
    Killed,
    LogLevel,
    Reloaded,
    Snapshot,
    Threads,
    Why,
)


class ControlError(Exception):
    """Something was asked that makes no sense. The text is one line that says what would."""


class UnknownError(ControlError):
    """There is no such thing, or no longer."""


class ConflictError(ControlError):
    """It makes sense, but not now."""


SORTABLE = ("id", "peer", "endpoint", "process", "age", "idle", "bytes_in", "bytes_out", "replies", "state", "thread")
"""What connections can be sorted by; the newest come first if nothing is said."""
MOST_CONNECTIONS = 10_000


@dataclass(frozen=True, slots=True)
class Query:
    """Which connections to list.

    Parameters
    ----------
    peer, endpoint, process:
        A part of the text; empty for all.
    state:
        A state, such as `receiving`; empty for all.
    sort:
        One of `SORTABLE`, with a `-` in front for the highest first.
    limit:
        How many at most.

    """

    peer: str = ""
    endpoint: str = ""
    process: str = ""
    state: str = ""
    sort: str = "age"
    limit: int = 100

    def __post_init__(self) -> None:
        if self.sort.removeprefix("-") not in SORTABLE:
            raise ControlError(f"sort: {self.sort!r} is refused: must be one of {', '.join(SORTABLE)}, or -NAME")
        if not 1 <= self.limit <= MOST_CONNECTIONS:
            raise ControlError(f"limit: {self.limit} is refused: must be a whole number from 1 to {MOST_CONNECTIONS}")


class Control(Protocol):
    """The interface. All methods may be called from any thread; `ControlError` and its kinds are what they raise."""

    def snapshot(self) -> Snapshot:
        """Return what the server is, what it is allowed, and what it has counted."""

    def connections(self, query: Query) -> Connections:
        """Return open connections."""

    def connection(self, name: str) -> ConnectionDetails:
        """Return everything about one connection."""

    def kill(self, name: str, by: str) -> Killed:
        """End a connection at once; `by` says who asks, for the log."""

    def why(self, name: str | None) -> Why:
        """Say in sentences why a connection, or the whole server, is as it is."""

    def drain(self, by: str) -> Draining:
        """Have the server stop as on SIGTERM."""

    def reload(self, by: str) -> Reloaded:
        """Have the server read its configuration again, as on SIGHUP."""

    def faults(self) -> Faults:
        """Return the faults that new connections meet."""

    def set_faults(self, rules: Sequence[str], seed: int, by: str) -> Faults:
        """Have new connections meet other faults."""

    def log_level(self) -> LogLevel:
        """Return the least important level that is logged."""

    def set_log_level(self, level: str, by: str) -> LogLevel:
        """Log from another level upwards."""

    def threads(self) -> Threads:
        """Return the threads, and what each is doing."""
