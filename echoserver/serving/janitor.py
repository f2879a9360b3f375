"""The janitor: one thread that enforces every time limit, so that no message pays for one.

It looks at each connection a few times a second, closes lingering connections when it is time, and lets the mode
maintain its threads. Without it no limit works, so no error of one connection, of a log or of the memory ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from threading import Thread
from time import monotonic

from echoserver.clock import Deadline
from echoserver.observe.telling import report
from echoserver.serving.connection import Connection
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.limits import Limits, TimeLimits
from echoserver.serving.lingering import Lingering
from echoserver.serving.registry import ConnectionRegistry

# A look that is this late was not late by itself: the process was stopped, or the machine was asleep.
_STOPPED_SECONDS = 1.0
# What an error that repeats itself may cost.
_PAUSE_AFTER_ERROR = 0.05


class Janitor:
    """Ends connections that are late, and closes the lingering ones.

    Parameters
    ----------
    registry:
        Where the open connections are.
    limits:
        The time limits.
    lifecycle:
        Where lingering connections come from, and what ends them.
    maintain:
        Is called a few times a second.

    """

    def __init__(
        self, registry: ConnectionRegistry, limits: Limits, lifecycle: Lifecycle, maintain: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._look_interval = limits.look_interval
        self._limits = TimeLimits(limits, lifecycle.report_stuck)
        self._lifecycle = lifecycle
        self._maintain = maintain
        # The janitor thread's own.
        self._lingering = Lingering()
        self._lost = 0.0
        self.rounds = 0
        """How often the thread has looked; its own. See `pulse.py`."""
        self.thread = Thread(target=self._run, name="janitor", daemon=True)

    def use(self, limits: Limits) -> None:
        """Judge by other limits from the next look on, the connections that are open as well."""
        self._limits.change(limits)
        self._look_interval = limits.look_interval

    def still(self, connection: Connection) -> float:
        """Return for how many seconds nothing has moved on a connection, as it was last seen; from any thread."""
        return self._limits.still(connection, monotonic() - self._lost)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self, deadline: Deadline) -> list[Thread]:
        """End the thread, and with it all lingering; return it if it is still alive at the deadline."""
        self._lifecycle.lingering.put(None)
        if self.thread.ident is not None:
            self.thread.join(deadline.timeout())
        return [self.thread] if self.thread.is_alive() else []

    def nudge(self) -> None:
        """Do nothing: the thread wakes by itself, a few times a second. See `pulse.py`."""

    def _run(self) -> None:
        look_at, going_on = monotonic(), True
        while going_on:
            try:
                going_on = self._take_arrival(look_at)
                now = monotonic()
                self._close_lingering(now)
                # By the clock, and not only when nothing arrives: a stream of arrivals must not hold up the limits.
                if now >= look_at:
                    late, look_at = now - look_at, now + self._look_interval
                    if late >= _STOPPED_SECONDS:
                        self.forgive(late)
                    self.rounds += 1
                    self.look(now)
                    self._maintain()
                    look_at = monotonic() + self._look_interval
            except Exception:  # noqa: BLE001 - no memory, or a defect: without this thread no limit works
                report()
                look_at = max(look_at, monotonic() + _PAUSE_AFTER_ERROR)
        for connection in self._lingering.take_all():
            self._lifecycle.finalise(connection)

    def _take_arrival(self, look_at: float) -> bool:
        """Wait for a connection to linger with, or until there is something to do; return false at the end."""
        due = self._lingering.due
        wake_at = look_at if due is None else min(look_at, due)
        try:
            arrival = self._lifecycle.lingering.get(timeout=max(0.0, wake_at - monotonic()))
        except Empty:
            return True
        if arrival is None:
            return False
        try:
            self._lingering.add(arrival)
        except Exception:  # noqa: BLE001 - no memory: it is closed at once
            report()
            self._lifecycle.finalise(arrival)
        return True

    def _close_lingering(self, now: float) -> None:
        for connection in self._lingering.take_done(now):
            self._lifecycle.finalise(connection)

    def forgive(self, seconds: float) -> None:
        """Do not count a stretch of time as silence: nothing could be served in it."""
        self._lost += seconds

    def look(self, now: float) -> None:
        """Look once at every connection and end those that are late.

        Parameters
        ----------
        now:
            The monotonic time, in seconds.

        """
        awake = now - self._lost
        for connection in self._registry.live():
            try:
                self._limits.judge(connection, now, awake)
            except Exception:  # noqa: BLE001 - such as a log that raises; the other connections have limits too
                report()
