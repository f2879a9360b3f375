"""Accepting in the poller, where it serves connections itself: no other thread, and nothing to hand over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Event, Thread
from typing import Protocol

from echoserver.clock import Deadline
from echoserver.net.listener import Listener
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Admission
from echoserver.serving.connection import Connection
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.workers.epoll_set import EpollSet

_LEAST_SECONDS = 0.2


class Polling(Protocol):
    """The poller, as far as accepting needs it."""

    thread: Thread
    rounds: int
    set: EpollSet

    def open(self) -> None:
        """Make the epoll set, if that has not been done."""

    def begin(self, connection: Connection) -> None:
        """Begin to serve a new connection."""

    def wake(self, connection: Connection, /) -> None:
        """See `Wakeable`."""


class PollerAccepting:
    """Runs an acceptor in the poller's thread, which calls `accept_from`, `on_woken` and `end`.

    Parameters
    ----------
    acceptor:
        Accepts.
    admission:
        Wakes the poller where it waits for a place.
    lifecycle:
        Is told of an error that accepting cannot go on after.
    poller:
        Has the thread.

    """

    def __init__(self, acceptor: Acceptor, admission: Admission, lifecycle: Lifecycle, poller: Polling) -> None:
        self.acceptor = acceptor
        self._admission = admission
        self._lifecycle = lifecycle
        self._poller = poller
        self._ended = Event()  # the poller to `stop`: the listeners are closed

    @property
    def thread(self) -> Thread:
        """The poller's."""
        return self._poller.thread

    @property
    def rounds(self) -> int:
        """The poller's."""
        return self._poller.rounds

    def nudge(self) -> None:
        """Wake the poller; see `pulse.py`."""
        self._poller.set.waker.wake()

    def adopt(self, listeners: Sequence[Listener]) -> None:
        """Take over the listeners; see `Accepting`. The poller's thread has not been started yet."""
        with ExitStack() as undo:
            for listener in listeners:
                undo.callback(listener.close)
            self._poller.open()
            self._admission.waker = self._poller.set.waker
            self.acceptor.adopt(listeners, self._poller.set)
            undo.pop_all()

    def start(self) -> None:
        """Do nothing: the poller accepts since it has started."""

    def stop(self, deadline: Deadline, grace: Deadline) -> list[Thread]:
        """Accept what waits, and close the listeners; see `Accepting`."""
        self.acceptor.stop(deadline)
        if self.thread.ident is None:  # it was never started, because something else failed to
            self.acceptor.close()
            return []
        self.nudge()
        # A handler that holds the poller up may use the time of the drain, and no more. The mode reports the thread.
        self._ended.wait(min(grace.remaining(), max(deadline.remaining(), _LEAST_SECONDS)))
        return []

    def retire(self, grace: Deadline) -> None:
        """Leave new peers to others; see `Accepting`."""
        self.acceptor.retire()
        if self.thread.ident is not None:
            self.nudge()
            self._ended.wait(grace.timeout())

    def close(self) -> None:
        """Do nothing: the waker is the poller's."""

    def resume(self) -> None:
        """Wake the poller if a shortage is over that it waits out; called by the janitor a few times a second."""
        # Read while the poller may change it: at worst this comes a look later.
        if self.acceptor.pause() == 0.0:
            self.nudge()

    # -- the poller thread

    def accept_from(self, descriptors: list[int]) -> None:
        """Take the descriptors off the list, and accept from the listeners; others belonged to ended connections."""
        while descriptors:
            self._try(partial(self.acceptor.accept_from, descriptors.pop()))

    def begin(self, connection: Connection) -> None:
        """Have the poller serve a connection that has been accepted."""
        connection.wake_with(self._poller)
        self._poller.begin(connection)

    def on_woken(self) -> None:
        """Go on, where there is a place again or the server stops."""
        if not self.acceptor.stopping:
            self._try(self.acceptor.resume)
        elif not self._ended.is_set():
            self._try(self.acceptor.accept_waiting)
            self.end()

    def end(self) -> None:
        """Close the listeners, once."""
        if not self._ended.is_set():
            self.acceptor.close()
            self._ended.set()

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a server that accepts nothing must say so
            self._lifecycle.fail(error)
            self.end()
