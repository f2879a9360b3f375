"""The epoll set: which connections the kernel is asked to tell of."""

from __future__ import annotations

import select

from echoserver.net.waker import Waker
from echoserver.observe.metrics import CloseReason
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver

_EVENTS = (
    # One that pauses is told of nothing but, once, of its end.
    {
        Interest.READ: select.EPOLLIN,
        Interest.READ_UNTIL: select.EPOLLIN,
        Interest.WRITE: select.EPOLLOUT,
        Interest.WRITE_UNTIL: select.EPOLLOUT,
        Interest.PAUSE: select.EPOLLONESHOT,
    }
    if hasattr(select, "epoll")
    else {}
)


def can_poll() -> bool:
    """Return whether this platform has epoll(7)."""
    return bool(_EVENTS)


class EpollSet:
    """An epoll set of connections (epoll(7)), with a waker for the thread that polls it.

    A connection is entered after its first event, and not before: even with no event asked for, epoll would report a
    hang-up, and the connection would be served twice.

    Parameters
    ----------
    one_shot:
        Whether the kernel tells of a connection once, until it is armed again.

    Raises
    ------
    OSError
        There are no descriptors left.

    """

    def __init__(self, *, one_shot: bool) -> None:
        self._epoll = select.epoll()
        try:
            self.waker = Waker()
        except BaseException:
            self._epoll.close()
            raise
        self.watch(self.waker.fileno())
        self._flags = select.EPOLLONESHOT if one_shot else 0
        self.poll = self._epoll.poll
        """Wait for events: see `select.epoll.poll`."""

    def watch(self, descriptor: int, *, exclusively: bool = False) -> None:
        """Tell of a descriptor that is no connection, whenever it is readable; see `Watching`."""
        self._epoll.register(descriptor, select.EPOLLIN | (select.EPOLLEXCLUSIVE if exclusively else 0))

    def arm(self, driver: NonBlockingDriver, interest: Interest) -> bool:
        """Tell of a connection when it is ready; return false where the kernel refuses, which ends the connection.

        Called by the owner of the connection.
        """
        first, driver.registered = driver.registered is Interest.NOTHING, interest
        descriptor = driver.connection.transport.fileno()
        try:
            if first:
                self._epoll.register(descriptor, _EVENTS[interest] | self._flags)
            else:
                self._epoll.modify(descriptor, _EVENTS[interest] | self._flags)
        except (OSError, ValueError, MemoryError) as error:  # epoll_ctl(2): ENOSPC, ENOMEM; EBADF, a number below 0
            if first:
                driver.registered = Interest.NOTHING
            driver.connection.failed(CloseReason.KILLED, error)
            return False
        return True

    def remove(self, driver: NonBlockingDriver) -> None:
        """Tell of a connection no more; its owner is about to close it."""
        if driver.registered is not Interest.NOTHING:
            driver.registered = Interest.NOTHING
            try:
                self._epoll.unregister(driver.connection.transport.fileno())
            except (OSError, ValueError):  # a handler has closed the descriptor
                pass

    def unwatch(self, descriptor: int) -> None:
        """Tell of it no more."""
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Close the set and its waker."""
        self._epoll.close()
        self.waker.close()
