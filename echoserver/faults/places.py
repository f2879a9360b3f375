"""Draws that depend on places: which bytes of a stream are corrupted, and how a reply is cut into pieces."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

from echoserver.faults.draws import Draws, Purpose
from echoserver.faults.parameters import Pieces
from echoserver.faults.quantities import PARTS, WORD, Share, below

_BLOCK = 1024
_LOW_HALF = (1 << 32) - 1


class CorruptedBytes:
    """Which bytes of a connection's stream a share picks: each one with the same probability, and independently.

    The stream is divided into blocks. How many bytes of a block are picked is drawn from the binomial distribution,
    then which ones: that takes one draw for most blocks, not one for each byte.

    Parameters
    ----------
    share:
        The share of the bytes.
    draws:
        The draws of the rule.
    connection:
        The number of the connection.

    """

    __slots__ = ("_connection", "_draws", "_share")

    def __init__(self, share: Share, draws: Draws, connection: int) -> None:
        self._share = share
        self._draws = draws
        self._connection = connection

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the offset and the mask of each picked byte from `start` up to, not including, `stop`, in order."""
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            for place, mask in self._picked(block):
                offset = block * _BLOCK + place
                if start <= offset < stop:
                    yield offset, mask

    def _picked(self, block: int) -> list[tuple[int, int]]:
        words = self._draws.words(self._connection, Purpose.BYTES, block)
        count = bisect_right(_chances(self._share.parts), next(words))
        if not count:
            return []
        # Draws few places and takes them, or leaves them: each set of the size is as likely as any other.
        few = min(count, _BLOCK - count)
        drawn: set[int] = set()
        while len(drawn) < few:
            drawn.add(below(_BLOCK, next(words)))
        places = sorted(drawn) if few == count else [place for place in range(_BLOCK) if place not in drawn]
        return [(place, 1 + ((word & _LOW_HALF) * 255 >> 32)) for place, word in zip(places, words, strict=False)]


@lru_cache(maxsize=64)
def _chances(parts: int) -> tuple[int, ...]:
    """Return the chances that at most 0, 1, 2 ... bytes of a block are picked, as fractions of 2 ** WORD.

    Decimals are the same on every machine, and have exponents for chances as small as 10 ** -8000.
    """
    if parts == PARTS:
        return (0,) * _BLOCK
    context = Context(40, ROUND_HALF_EVEN, -999_999, 999_999, 1, 0, [], [])
    kept = context.divide(Decimal(PARTS - parts), Decimal(PARTS))
    odds = context.divide(Decimal(parts), Decimal(PARTS - parts))
    chance = context.power(kept, _BLOCK)
    total, whole = Decimal(0), Decimal(1 << WORD)
    found = []
    for count in range(_BLOCK):
        total = context.add(total, chance)
        found.append(min(int(context.multiply(total, whole)), 1 << WORD))
        chance = context.multiply(chance, context.divide(context.multiply(odds, _BLOCK - count), Decimal(count + 1)))
    return tuple(found)


class PieceSizes:
    """How the replies of a connection are cut into pieces.

    Parameters
    ----------
    pieces:
        The bounds of the sizes.
    draws:
        The draws of the rule.
    connection:
        The number of the connection.

    """

    __slots__ = ("_connection", "_draws", "_pieces")

    def __init__(self, pieces: Pieces, draws: Draws, connection: int) -> None:
        self._pieces = pieces
        self._draws = draws
        self._connection = connection

    def of(self, reply: int) -> Iterator[int]:
        """Yield one size in bytes after another, without end, always the same ones for a reply."""
        smallest, choices = self._pieces.smallest, self._pieces.largest - self._pieces.smallest + 1
        for word in self._draws.words(self._connection, Purpose.SIZES, reply):
            yield smallest + below(choices, word)
