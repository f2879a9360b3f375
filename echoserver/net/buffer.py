"""The memory that a thread receives into.

To receive into memory that is there already spares each message an allocation. Its room for large messages costs a
thread with small ones nothing: a page of it takes up memory once something has been received into it, until the thread
ends.
"""

from __future__ import annotations

import mmap

USUAL_BYTES = 81_920
"""What most receives take at most: more than a message of 64 KiB, so that one that is filled tells of bulk data."""

_ALL_BYTES = 131_072


class ReceiveBuffer:
    """One thread's memory for what it receives. It belongs to that thread, and is used anew for each message.

    Raises
    ------
    MemoryError
        The system has no more of it.

    """

    __slots__ = ("part", "size", "usual", "whole")

    def __init__(self) -> None:
        try:
            memory = mmap.mmap(-1, _ALL_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"no memory to receive into: {error.strerror}") from error
        self.whole = memoryview(memory)
        self.usual = self.whole[:USUAL_BYTES]
        # Messages tend to be as long as the one before, and then the last part is the one asked for.
        self.size = 0
        self.part = self.whole[:0]

    def first(self, size: int) -> memoryview:
        """Return the first `size` bytes, and keep them as `part`. They change with the next receive."""
        # In this order: were there no memory for the part, the size would else stand beside another message's part.
        self.part = self.whole[:size]
        self.size = size
        return self.part
