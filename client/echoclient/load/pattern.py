"""The bytes that are sent and those that must come back: a function of connection and offset, cheap to compare."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoclient.load.plan import Expect

# A prime: whatever the message size, a reply that is shifted, repeated or cut meets other bytes than those expected.
PERIOD = 65_521
# The longest piece that is sent, received and compared in one go; the tape is this much longer than its period, so
# that no piece wraps around.
CHUNK = 256 * 1024
# Successive connections start this far apart on the tape. Prime to the period, so 65,521 connections all differ.
_STRIDE = 40_503

# Sizes are drawn once, as many as this, and then repeat; each connection starts somewhere else among them.
_SIZES = 4096

_PRINTABLE = bytes(range(0x20, 0x7F))


class Pattern:
    """An endless tape of pseudo-random bytes with a long period, as sent and as expected back.

    Byte ``offset`` of connection ``number`` is ``sent[position % PERIOD]`` with
    ``position = start(number) + offset``, and the answer to it ``awaited[position % PERIOD]``.

    Attributes:
        sent: the tape as it goes out.
        awaited: the tape as it comes back; the same object where the server echoes.
    """

    def __init__(self, expect: Expect, seed: int) -> None:
        """Write the tape: any byte for ``echo``, printable ASCII for ``upper``, whose letters the server changes."""
        source = random.Random(seed)  # noqa: S311 - a reproducible pattern, not a secret
        period = source.randbytes(PERIOD) if expect == "echo" else bytes(source.choices(_PRINTABLE, k=PERIOD))
        self.sent = (period * (CHUNK // PERIOD + 2))[: PERIOD + CHUNK]
        self.awaited = self.sent if expect == "echo" else self.sent.upper()

    @staticmethod
    def start(number: int) -> int:
        """Return the position on the tape at which connection ``number`` starts."""
        return number * _STRIDE % PERIOD

    def difference(self, data: bytes, position: int) -> int | None:
        """Compare at most `CHUNK` bytes received at ``position`` and return the index of the first wrong one."""
        start = position % PERIOD
        if self.awaited.startswith(data, start):
            return None
        expected = self.awaited[start : start + len(data)]
        return next(index for index, (got, due) in enumerate(zip(data, expected, strict=True)) if got != due)


class Sizes:
    """The size of each message: a function of connection and turn."""

    def __init__(self, smallest: int, largest: int, seed: int) -> None:
        source = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._table = [source.randint(smallest, largest) for _ in range(1 if smallest == largest else _SIZES)]

    def of(self, number: int, turn: int) -> int:
        """Return the bytes of message ``turn`` of connection ``number``."""
        return self._table[(number * _STRIDE + turn) % len(self._table)]
