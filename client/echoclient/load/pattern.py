"""The bytes that are sent and expected back: a function of connection and offset that is cheap to compare."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoclient.load.plan import Expect

# A prime, so that with any message size, a reply that is shifted, repeated or cut differs from the expected bytes.
PERIOD = 65_521
# The longest piece that is sent, received and compared at once. The pattern is stored with this much more than its
# period, so that no piece wraps around.
CHUNK = 256 * 1024
# Successive connections start this far apart in the pattern. It is coprime to the period, so 65,521 connections differ.
_STRIDE = 40_503

# How many sizes are drawn; then they repeat. Each connection starts at a different place among them.
_SIZES = 4096

_PRINTABLE = bytes(range(0x20, 0x7F))


class Pattern:
    """An endless sequence of pseudo-random bytes with a long period, as sent and as expected back.

    Byte ``offset`` of connection ``number`` is ``sent[position % PERIOD]`` with
    ``position = start(number) + offset``, and the answer to it ``awaited[position % PERIOD]``.

    Attributes:
        sent: the bytes as they are sent.
        awaited: the bytes as they are expected back; the same object if the server echoes.
    """

    def __init__(self, expect: Expect, seed: int) -> None:
        """Draw the bytes: any for ``echo``; printable ASCII for ``upper``, whose letters the server changes."""
        source = random.Random(seed)  # noqa: S311 - a reproducible pattern, not a secret
        period = source.randbytes(PERIOD) if expect == "echo" else bytes(source.choices(_PRINTABLE, k=PERIOD))
        self.sent = (period * (CHUNK // PERIOD + 2))[: PERIOD + CHUNK]
        self.awaited = self.sent if expect == "echo" else self.sent.upper()

    @staticmethod
    def start(number: int) -> int:
        """Return the position in the pattern at which connection ``number`` starts."""
        return number * _STRIDE % PERIOD

    def difference(self, data: bytes, position: int) -> int | None:
        """Compare at most `CHUNK` bytes received at ``position``; return the index of the first wrong one."""
        start = position % PERIOD
        if self.awaited.startswith(data, start):
            return None
        expected = self.awaited[start : start + len(data)]
        return next(index for index, (got, due) in enumerate(zip(data, expected, strict=True)) if got != due)


class Sizes:
    """The size of each message: a function of the connection and the message's number on it."""

    def __init__(self, smallest: int, largest: int, seed: int) -> None:
        source = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._table = [source.randint(smallest, largest) for _ in range(1 if smallest == largest else _SIZES)]

    def of(self, number: int, message: int) -> int:
        """Return the size of message ``message`` of connection ``number``, in bytes."""
        return self._table[(number * _STRIDE + message) % len(self._table)]
