"""Connections that the server has ended, and whose peers may still be sending.

Their sockets are closed a little later, so that the kernel does not reset them and destroy replies on their way. It
takes no thread of its own: the janitor looks at them every 50 milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from echoserver.clock import Deadline
from echoserver.observe.metrics import CloseReason
from echoserver.serving.connection import Connection

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0
"""How much, and for how long, such a connection still receives and drops what its peer sends."""

_INTERVAL_SECONDS = 0.05


@dataclass(slots=True)
class _Late:
    connection: Connection
    deadline: Deadline
    bytes_left: int
    quiet: bool


class Lingering:
    """The lingering connections. They belong to the janitor thread."""

    def __init__(self) -> None:
        self._late: list[_Late] = []
        self._due = 0.0

    @property
    def due(self) -> float | None:
        """When to look at them next, on the monotonic clock; `None` where there are none."""
        return self._due if self._late else None

    def add(self, connection: Connection) -> None:
        """Linger with a connection."""
        if not self._late:
            self._due = monotonic()
        self._late.append(_Late(connection, Deadline(LINGER_SECONDS), LINGER_BYTES, quiet=False))

    def take_done(self, now: float) -> list[Connection]:
        """Receive and drop what was sent, and return the connections that can be closed.

        Parameters
        ----------
        now:
            The monotonic time, in seconds.

        """
        if not self._late or now < self._due:
            return []
        done = [late.connection for late in self._late if _is_done(late)]
        self._late = [late for late in self._late if late.connection not in done] if done else self._late
        self._due = now + _INTERVAL_SECONDS
        return done

    def take_all(self) -> list[Connection]:
        """Return all of them: none lingers any longer."""
        late, self._late = self._late, []
        return [entry.connection for entry in late]


def _is_done(late: _Late) -> bool:
    connection = late.connection
    dropped = connection.discard(late.bytes_left)
    late.bytes_left -= max(0, dropped)
    served = late.quiet and dropped == 0 and connection.unacknowledged() == 0
    late.quiet = dropped == 0
    enough = late.bytes_left <= 0 or late.deadline.expired or connection.ending is CloseReason.CUT
    return dropped < 0 or served or enough
