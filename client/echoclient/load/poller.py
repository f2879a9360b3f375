"""Waits for ready descriptors: with epoll on Linux, otherwise with `selectors` (kqueue on macOS)."""

from __future__ import annotations

import select
import selectors
import sys

# The values of EPOLLIN and EPOLLOUT, which both pollers use.
READ, WRITE = 1, 4


class SelectorsPoller:
    """A level-triggered poller for any system, with the methods of epoll(7) that are needed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, descriptor: int, events: int) -> None:
        """Start to watch a descriptor for `READ` or `WRITE` or both."""
        self._selector.register(descriptor, _theirs(events))

    def modify(self, descriptor: int, events: int) -> None:
        """Change the events for which a descriptor is watched."""
        self._selector.modify(descriptor, _theirs(events))

    def unregister(self, descriptor: int) -> None:
        """Stop watching a descriptor."""
        self._selector.unregister(descriptor)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Wait until something is ready, at most ``seconds``; return descriptors and their events."""
        return [(key.fd, _ours(events)) for key, events in self._selector.select(seconds)]

    poll_precisely = poll

    def close(self) -> None:
        """Close the poller."""
        self._selector.close()


def _theirs(events: int) -> int:
    return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


def _ours(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


if sys.platform == "linux":

    class Poller:
        """The same directly on epoll(7). For errors and hang-ups, further bits are set."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self.register = self._epoll.register
            self.modify = self._epoll.modify
            self.unregister = self._epoll.unregister
            self.poll = self._epoll.poll
            self.close = self._epoll.close

        def poll_precisely(self, seconds: float) -> list[tuple[int, int]]:
            """Wait like `poll`, but with a resolution of a microsecond.

            epoll_wait(2) takes whole milliseconds, which is too coarse for planned times of sending. select(2) takes
            microseconds, and can wait for an epoll descriptor.
            """
            if seconds > 0:
                # The descriptor was made before any connection, so its number is far below the limit of select(2).
                select.select((self._epoll,), (), (), seconds)
            return self._epoll.poll(0)

else:
    Poller = SelectorsPoller
