"""Drawn numbers: each is a pure function of the seed, the rule, the connection, what it is for, and an index.

They come from BLAKE2b (RFC 7693), so they are the same on every machine and with every version of Python. This is a
promise: a ticket replays a schedule for as long as nothing here changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b

MOST_SEED = 2**63 - 1
"""The largest seed: what an integer in TOML holds."""

_WORDS = struct.Struct(">8Q")
_PLACE = struct.Struct(">QBQI")
_PERSON = b"echoserver/fault"


class Purpose(IntEnum):
    """What a number is drawn for, so that no two draws of a rule depend on each other."""

    CONNECTION = 0
    """Whether the rule concerns the connection."""
    MESSAGE = 1
    """Whether it concerns a reply."""
    VALUE = 2
    """How long a delay is."""
    PLACE = 3
    """Which byte of a reply is corrupted."""
    MOMENT = 4
    """When in a span something happens."""
    BYTES = 5
    """Which of a block of bytes are corrupted."""
    SIZES = 6
    """How long the pieces of a reply are."""


class Draws:
    """The draws of one rule. It has no state: any thread may ask, in any order.

    Parameters
    ----------
    seed:
        The seed, from 0 to `MOST_SEED`.
    rule:
        The text of the rule, which is its identity: what it draws doesn't depend on the rules around it.

    """

    __slots__ = ("_base",)

    def __init__(self, seed: int, rule: str) -> None:
        # Never updated, only copied.
        self._base = blake2b(rule.encode("ascii"), digest_size=64, key=seed.to_bytes(8, "big"), person=_PERSON)

    def word(self, connection: int, purpose: Purpose, index: int = 0) -> int:
        """Return a number of 64 bits, each as likely as any other."""
        return self._block(connection, purpose, index, 0)[0]

    def words(self, connection: int, purpose: Purpose, index: int = 0) -> Iterator[int]:
        """Yield numbers of 64 bits without end; the first is what `word` returns."""
        block = 0
        while True:
            yield from self._block(connection, purpose, index, block)
            block += 1

    def _block(self, connection: int, purpose: Purpose, index: int, block: int) -> tuple[int, ...]:
        state = self._base.copy()
        state.update(_PLACE.pack(connection, purpose, index, block))
        return _WORDS.unpack(state.digest())
