"""Which thread accepts: one of its own, or the poller, where that serves connections itself."""

from __future__ import annotations

import select
import selectors
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Thread
from typing import Protocol

from echoserver.clock import Deadline
from echoserver.net.listener import Listener
from echoserver.net.waker import Waker
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Admission
from echoserver.serving.affinity import Affinity
from echoserver.serving.lifecycle import Lifecycle


def can_share() -> bool:
    """Return whether this platform can spread peers over several processes (EPOLLEXCLUSIVE in epoll_ctl(2))."""
    return hasattr(select, "EPOLLEXCLUSIVE")


class Accepting(Protocol):
    """What runs an acceptor."""

    @property
    def acceptor(self) -> Acceptor:
        """The acceptor."""

    @property
    def thread(self) -> Thread:
        """The thread that accepts."""

    @property
    def rounds(self) -> int:
        """See `pulse.py`."""

    def nudge(self) -> None:
        """See `pulse.py`."""

    def adopt(self, listeners: Sequence[Listener]) -> None:
        """Take over the listeners: from here on `stop` closes them.

        All descriptors that accepting needs are made here, so that it goes on where there are none left.

        Raises
        ------
        OSError
            There are no descriptors left. The listeners have been closed.

        """

    def start(self) -> None:
        """Begin to accept."""

    def stop(self, deadline: Deadline, grace: Deadline) -> list[Thread]:
        """Accept what already waits in the kernel's queue, then close the listeners.

        Parameters
        ----------
        deadline:
            How long waiting peers may still be accepted.
        grace:
            How long closing the listeners may take.

        Returns
        -------
        list of Thread
            The thread, if it has not come to that.

        """

    def retire(self, grace: Deadline) -> None:
        """Leave new peers to other processes, and close the listeners; wait for that as long as the grace allows."""

    def close(self) -> None:
        """Give the waker back, once no connection is left that would use it."""


class _ExclusiveSelector:
    """What `selectors.EpollSelector` is, for listeners that several processes have (EPOLLEXCLUSIVE in epoll_ctl(2))."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def register(self, descriptor: int, *, exclusively: bool) -> None:
        self._epoll.register(descriptor, select.EPOLLIN | (select.EPOLLEXCLUSIVE if exclusively else 0))

    def unregister(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)

    def select(self, timeout: float | None) -> list[int]:
        # One at a time: what this process has not been told of can wake another one.
        return [descriptor for descriptor, _ in self._epoll.poll(timeout, 1)]

    def close(self) -> None:
        self._epoll.close()


class _Selector:
    """The same for listeners that only this process has, on any platform."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, descriptor: int, *, exclusively: bool) -> None:
        assert not exclusively
        self._selector.register(descriptor, selectors.EVENT_READ)

    def unregister(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def select(self, timeout: float | None) -> list[int]:
        return [key.fd for key, _ in self._selector.select(timeout)]

    def close(self) -> None:
        self._selector.close()


class AcceptorThread:
    """A thread that does nothing but accept.

    Parameters
    ----------
    acceptor:
        Accepts.
    admission:
        Wakes the thread where it waits for a place.
    lifecycle:
        Is told of an error that it cannot go on after.
    affinity:
        Where the thread runs.

    """

    def __init__(self, acceptor: Acceptor, admission: Admission, lifecycle: Lifecycle, affinity: Affinity) -> None:
        self.acceptor = acceptor
        self._admission = admission
        self._lifecycle = lifecycle
        self._affinity = affinity
        self.thread = Thread(target=self._run, name="acceptor", daemon=True)
        self.rounds = 0
        """How often the thread has been woken; its own. See `pulse.py`."""
        self._adopted = False

    def nudge(self) -> None:
        """Wake the thread; see `pulse.py`."""
        self._waker.wake()

    def adopt(self, listeners: Sequence[Listener]) -> None:
        """Take over the listeners; see `Accepting`."""
        with ExitStack() as undo:
            for listener in listeners:
                undo.callback(listener.close)
            self._waker = self._admission.waker = Waker()
            undo.callback(self._waker.close)
            self._selector = _ExclusiveSelector() if self.acceptor.exclusively else _Selector()
            undo.callback(self._selector.close)
            self._selector.register(self._waker.fileno(), exclusively=False)
            self.acceptor.adopt(listeners, self)
            undo.pop_all()
        self._adopted = True

    def watch(self, descriptor: int, *, exclusively: bool = False) -> None:
        """Tell of a listener; see `Watching`."""
        self._selector.register(descriptor, exclusively=exclusively)

    def unwatch(self, descriptor: int) -> None:
        """Tell of it no more."""
        self._selector.unregister(descriptor)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self, deadline: Deadline, grace: Deadline) -> list[Thread]:
        """Accept what waits, and end the thread; see `Accepting`."""
        self.acceptor.stop(deadline)
        if self.thread.ident is None:  # it was never started, because something else failed to
            self._close_listeners()
            return []
        self._waker.wake()
        self.thread.join(grace.timeout())
        return [self.thread] if self.thread.is_alive() else []

    def retire(self, grace: Deadline) -> None:
        """Leave new peers to others; see `Accepting`."""
        self.acceptor.retire()
        if self.thread.ident is not None:
            self._waker.wake()
            self.thread.join(grace.timeout())

    def close(self) -> None:
        """Give the waker back."""
        if self._adopted:
            self._waker.close()

    # -- the thread

    def _run(self) -> None:
        try:
            self._affinity.pin()
            waker = self._waker.fileno()
            while not self.acceptor.stopping:
                for descriptor in self._selector.select(self.acceptor.pause()):
                    if descriptor == waker:
                        self.rounds += 1
                        self._waker.clear()
                    else:
                        self.acceptor.accept_from(descriptor)
                self.acceptor.resume()
            self.acceptor.accept_waiting()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a server that accepts nothing must say so
            self._lifecycle.fail(error)
        finally:
            self._close_listeners()

    def _close_listeners(self) -> None:
        if self._adopted:
            self.acceptor.close()
            self._selector.close()
