"""Signals and the news of other threads, as events that the main thread waits for in one place."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from queue import Empty, SimpleQueue
from types import FrameType

from echoserver.process.uncaught import IgnoredError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_DRAIN_BYTES = 65536


class Notice(Enum):
    """What our own threads tell the main thread."""

    DRAINED = auto()
    """The server has stopped."""
    FAILED = auto()
    """The server can't go on."""
    SERVE = auto()
    """The supervisor says: accept peers. So do those below."""
    RETIRE = auto()
    """Accept no more, and end with the last connection."""
    DRAIN = auto()
    """Stop, as on SIGTERM."""
    CUT = auto()
    """Wait for nothing."""
    DUMP = auto()
    """Log the connections and the threads."""
    ORPHANED = auto()
    """There is no supervisor any more."""


Event = signal.Signals | Notice | IgnoredError


class EventInbox:
    """Where events wait for the main thread, and what wakes it.

    The queue holds the events; the socket pair only wakes the thread that waits. A byte that finds the socket full is
    therefore not lost information: a full socket wakes the waiter as well. `SimpleQueue.put` is reentrant, so a signal
    handler or a finaliser may call `post` wherever it interrupts the thread, even inside `post` or `wait`.
    """

    def __init__(self) -> None:
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._waiting, self._waking = socket.socketpair()
        self._waking.setblocking(False)
        self.draining = False
        """Whether the process is about to stop; written by the main thread."""

    def fileno(self) -> int:
        """Return the descriptor that wakes the waiter when a byte is written to it."""
        return self._waking.fileno()

    @property
    def waiting(self) -> socket.socket:
        """What becomes readable when an event arrives, for a selector that waits for other things as well."""
        return self._waiting

    def post(self, event: Event) -> None:
        """Add an event and wake the waiter; never blocks. For any thread and for signal handlers."""
        # First the event: a waiter that takes the byte then finds it.
        self._events.put(event)
        try:
            self._waking.send(b"\0")
        except OSError:  # full of bytes that wake it as well; or closed, and nobody waits any more
            pass

    def wait(self, timeout: float | None) -> list[Event]:
        """Return the events that have arrived, waiting up to `timeout` seconds for the first; stop signals come first.

        Repeated signals of one kind count once, except for stop signals: a second one cuts the drain short. The list
        may be empty before the time is up.
        """
        self._waiting.settimeout(timeout)
        try:
            self._waiting.recv(_DRAIN_BYTES)
        except (TimeoutError, BlockingIOError):  # the latter if no time was left to wait
            pass
        events: list[Event] = []
        try:
            while True:
                event = self._events.get_nowait()
                if event in STOP_SIGNALS or not isinstance(event, signal.Signals) or event not in events:
                    events.append(event)
        except Empty:
            pass
        return sorted(events, key=lambda event: event not in STOP_SIGNALS)

    def close(self) -> None:
        """Close the sockets."""
        self._waiting.close()
        self._waking.close()


def taken_signals() -> list[signal.Signals]:
    """Return the signals that mean something to a server that is one process."""
    reaping = [signal.SIGCHLD] if os.getpid() == 1 else []
    return [*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1, *reaping]


@contextmanager
def signals_as_events(*taken: signal.Signals) -> Iterator[EventInbox]:
    """Take these signals, and have each one posted to an inbox. Only for the main thread.

    Afterwards they are ignored: the process is ending, within a bounded time and with an exit code of its own. SIGHUP
    is left alone where it is ignored, as nohup(1) has it.
    """
    inbox = EventInbox()

    def post(number: int, _frame: FrameType | None) -> None:
        inbox.post(signal.Signals(number))

    heard = [number for number in taken if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    # Another thread may receive a signal, and Python runs its handler in the main thread alone: this wakes it.
    signal.set_wakeup_fd(inbox.fileno(), warn_on_full_buffer=False)
    for number in heard:
        signal.signal(number, post)
    try:
        yield inbox
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        inbox.close()
