"""The open connections, for whoever looks at all of them: the janitor, the drain, and a person who asks."""

from __future__ import annotations

from threading import Condition, RLock

from echoserver.clock import Deadline
from echoserver.serving.connection import Connection


class ConnectionRegistry:
    """Which connections are open.

    One condition guards the dictionary and lets a drain wait until it is empty. It stands on an `RLock`, since
    `wait_empty` holds it while it asks for `len(self)`, which acquires it again.
    """

    def __init__(self) -> None:
        self._changed = Condition(RLock())
        self._live: dict[int, Connection] = {}

    def __len__(self) -> int:
        with self._changed:
            return len(self._live)

    def add(self, connection: Connection) -> None:
        """Enter a connection."""
        with self._changed:
            self._live[connection.number] = connection

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        with self._changed:
            del self._live[connection.number]
            self._changed.notify_all()

    def live(self) -> list[Connection]:
        """Return the open connections, oldest first. Any of them may end while the list is read."""
        with self._changed:
            return list(self._live.values())

    def wait_empty(self, deadline: Deadline) -> bool:
        """Wait until no connection is left; return whether that was before the deadline."""
        with self._changed:
            while len(self) and not deadline.expired:
                self._changed.wait(deadline.timeout())
            return not len(self)

    def wake(self) -> None:
        """Have `wait_empty` look at its deadline again, because it has been moved."""
        with self._changed:
            self._changed.notify_all()
