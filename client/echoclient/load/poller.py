"""Which descriptors are ready: epoll where there is one, else what `selectors` finds (kqueue on macOS)."""

from __future__ import annotations

import select
import selectors
import sys

# The values of EPOLLIN and EPOLLOUT; both pollers speak them.
READ, WRITE = 1, 4


class SelectorsPoller:
    """A poller for every system, with the few methods of epoll(7) that are used. Level-triggered."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, descriptor: int, events: int) -> None:
        """Start to watch a descriptor for `READ` or `WRITE` or both."""
        self._selector.register(descriptor, _theirs(events))

    def modify(self, descriptor: int, events: int) -> None:
        """Watch it for other events."""
        self._selector.modify(descriptor, _theirs(events))

    def unregister(self, descriptor: int) -> None:
        """Stop watching it."""
        self._selector.unregister(descriptor)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Wait until something is ready, or for so long; return descriptors and events."""
        return [(key.fd, _ours(events)) for key, events in self._selector.select(seconds)]

    poll_precisely = poll

    def close(self) -> None:
        """Give the descriptor back."""
        self._selector.close()


def _theirs(events: int) -> int:
    return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


def _ours(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


if sys.platform == "linux":

    class Poller:
        """The same over epoll(7), without a layer in between. Errors and hang-ups come with further bits set."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self.register = self._epoll.register
            self.modify = self._epoll.modify
            self.unregister = self._epoll.unregister
            self.poll = self._epoll.poll
            self.close = self._epoll.close

        def poll_precisely(self, seconds: float) -> list[tuple[int, int]]:
            """Wait as `poll` does, but to the microsecond.

            epoll_wait(2) takes whole milliseconds, which is far too coarse for planned times of sending; select(2)
            takes microseconds, and an epoll descriptor can itself be waited for.
            """
            if seconds > 0:
                # Made before any connection, so its number is far below what select(2) can hold.
                select.select((self._epoll,), (), (), seconds)
            return self._epoll.poll(0)

else:
    Poller = SelectorsPoller
