"""The memory that a thread receives into.

Receiving into memory that exists already saves an allocation for each message. The part for large messages costs a
thread that has small ones nothing: a page takes up memory only after something has been received into it, and then
until the thread ends.
"""

from __future__ import annotations

import mmap

SMALL_BYTES = 81_920
"""The most that an ordinary receive takes: more than a message of 64 KiB, so that a full one is a sign of bulk data."""

_FULL_BYTES = 131_072


class ReceiveBuffer:
    """One thread's memory for what it receives. It belongs to that thread and is reused for each message.

    Raises
    ------
    MemoryError
        The system has no memory left.

    """

    __slots__ = ("full", "size", "small", "view")

    def __init__(self) -> None:
        try:
            memory = mmap.mmap(-1, _FULL_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"no memory to receive into: {error.strerror}") from error
        self.full = memoryview(memory)
        self.small = self.full[:SMALL_BYTES]
        # Messages tend to be as long as the one before: then the last view is the one that is needed again.
        self.size = 0
        self.view = self.full[:0]

    def first(self, size: int) -> memoryview:
        """Return the first `size` bytes, and keep them as `view`. The next receive changes them."""
        # In this order: if there is no memory for the view, `size` must still be the size of the old one.
        self.view = self.full[:size]
        self.size = size
        return self.view
