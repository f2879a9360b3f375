"""Saying regularly that the server serves, as a service manager may ask for (sd_watchdog_enabled(3))."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping

from echoserver.clock import Deadline
from echoserver.observe.logger import Logger
from echoserver.process.notify import ServiceManager

_MICROSECONDS = 1_000_000


class Watchdog:
    """Tells the service manager that the server is alive, twice in the time it allows, and only if that is true.

    Parameters
    ----------
    environment:
        The environment of the process. The variables are removed, so that no child process takes them for its own.
    manager:
        Is told.
    log:
        Is told which threads are stuck.

    """

    def __init__(self, environment: MutableMapping[str, str], manager: ServiceManager, log: Logger) -> None:
        allowed, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        # They may have been meant for a parent that passed them on.
        ours = process in ("", str(os.getpid()))
        seconds = int(allowed) / _MICROSECONDS if ours and allowed.isascii() and allowed.isdecimal() else 0.0
        self._interval = seconds / 2
        self._manager = manager
        self._log = log
        self._due = Deadline(self._interval)

    def variables(self) -> dict[str, str]:
        """Return what the environment of this process said, for a program that follows it."""
        return {"WATCHDOG_USEC": str(int(2 * self._interval * _MICROSECONDS))} if self._interval else {}

    def timeout(self, other: float | None) -> float | None:
        """Return how long the main thread may wait: until the watchdog is due, or for `other` seconds if less."""
        mine = self._due.timeout()
        return other if mine is None else mine if other is None else min(mine, other)

    def look(self, stuck: Callable[[], list[str]]) -> None:
        """Tell the manager that the server is alive, if that is due and no thread is stuck; see `Server.stuck`."""
        if self.due():
            self.tell(stuck())

    def due(self) -> bool:
        """Return whether it is time to look, at most once in each interval."""
        if not self._interval or not self._due.expired:
            return False
        self._due = Deadline(self._interval)
        return True

    def tell(self, threads: list[str]) -> None:
        """Tell the manager that the server is alive, if none of its threads is stuck."""
        if threads:
            self._log.error("threads are stuck", threads=threads)
        else:
            self._manager.tell(WATCHDOG="1")
