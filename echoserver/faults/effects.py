"""What happens to a connection because of a rule: each effect with its place.

Two places are used. An offset counts the bytes that the server sends, from 0; it is absolute, not within a reply. A
reply has a number from 1, as people count; the arguments named `index` elsewhere count from 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol


class Corruptions(Protocol):
    """Where a share of the bytes is corrupted: a seeded function of the offset, never a list of all places."""

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the offset and the mask of each corrupted byte from `start` up to, not including, `stop`, in order."""


class Sizes(Protocol):
    """The sizes of the pieces that a reply is cut into: a seeded function of the reply."""

    def of(self, reply: int) -> Iterator[int]:
        """Yield one size after another, for ever, always the same ones for a reply."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that happens to a connection. `str` gives the kind and the place, as the log shows them."""

    rule: int
    """The index of the rule, for the counters and the log."""

    kind: ClassVar[str]
    """The kind of the rule, such as `delay`."""


@dataclass(frozen=True, slots=True)
class Refuse(Effect):
    """The connection is closed when it is accepted, before anything is received."""

    kind: ClassVar[str] = "refuse"

    def __str__(self) -> str:
        return "refuse at accept"


@dataclass(frozen=True, slots=True)
class Delay(Effect):
    """Nothing is sent for `seconds`, counted from when byte `at` could be sent. Input goes on waiting meanwhile."""

    seconds: float
    at: int
    reply: int | None
    """The reply that it comes before; `None` if it comes before byte `at`, within a reply."""

    kind: ClassVar[str] = "delay"

    def __str__(self) -> str:
        return f"delay {spoken(self.seconds)} before {_before(self.reply, self.at)}"


@dataclass(frozen=True, slots=True)
class Throttle(Effect):
    """From byte `at` on, at most `rate` bytes a second are sent, until the end of the reply or another `Throttle`."""

    at: int
    rate: int

    kind: ClassVar[str] = "throttle"

    def __str__(self) -> str:
        return f"throttle to {self.rate} bytes/s from byte {self.at}"


@dataclass(frozen=True, slots=True)
class Slice(Effect):
    """From byte `at` on, the bytes are sent in pieces with a gap between two, until the end of the reply.

    Another `Slice` replaces it from its own place on.
    """

    at: int
    gap: float
    """The seconds between the end of a piece and the next one."""
    reply: int
    pieces: Sizes

    kind: ClassVar[str] = "slice"

    def sizes(self) -> Iterator[int]:
        """Yield the size of each piece in bytes, without end; the same ones at each call."""
        return self.pieces.of(self.reply)

    def __str__(self) -> str:
        return f"slice from byte {self.at}"


@dataclass(frozen=True, slots=True)
class Drop(Effect):
    """The reply is not sent. Its bytes don't count: the next reply begins at the same offset."""

    reply: int

    kind: ClassVar[str] = "drop"

    def __str__(self) -> str:
        return f"drop reply {self.reply}"


@dataclass(frozen=True, slots=True)
class Duplicate(Effect):
    """The reply is sent once more, right after itself. The copy's bytes count, and may meet effects of their own."""

    reply: int

    kind: ClassVar[str] = "duplicate"

    def __str__(self) -> str:
        return f"duplicate reply {self.reply}"


@dataclass(frozen=True, slots=True)
class Corrupt(Effect):
    """The byte at offset `at` is sent as its exclusive or with `mask`, which is from 1 to 255."""

    at: int
    mask: int

    kind: ClassVar[str] = "corrupt"

    def __str__(self) -> str:
        return f"corrupt at byte {self.at}"


@dataclass(frozen=True, slots=True)
class CorruptShare(Effect):
    """From byte `at` on, a share of the bytes is corrupted, until the end of the reply."""

    at: int
    places: Corruptions

    kind: ClassVar[str] = "corrupt"

    def within(self, start: int, stop: int) -> Iterator[Corrupt]:
        """Yield what is corrupted from offset `start` up to, not including, `stop`, in order.

        The same bytes are corrupted however a range is divided into several.
        """
        for at, mask in self.places.within(max(start, self.at), stop):
            yield Corrupt(self.rule, at, mask)

    def __str__(self) -> str:
        return f"corrupt some bytes from byte {self.at}"


@dataclass(frozen=True, slots=True)
class Cut(Effect):
    """The flow of bytes ends, or stops for a time. Exactly one of the three places is given.

    The class says how: `Reset`, `Close`, `HalfClose` or `Stall`. After each of them but a `Stall` that ends, nothing
    more is sent, so no effect follows it.
    """

    at: int | None
    """So many bytes have been sent when it happens."""
    reply: int | None
    """It comes in place of this reply, of which nothing is sent."""
    age: float | None
    """The connection is so many seconds old when it happens."""

    def __str__(self) -> str:
        return f"{self.kind} {self._place()}"

    def _place(self) -> str:
        if self.at is not None:
            return f"after {self.at} bytes"
        return f"in place of reply {self.reply}" if self.age is None else f"at {spoken(self.age)}"


@dataclass(frozen=True, slots=True)
class Reset(Cut):
    """The connection is reset: the peer gets an RST, and what it hasn't taken is lost."""

    kind: ClassVar[str] = "reset"


@dataclass(frozen=True, slots=True)
class Close(Cut):
    """The server ends the connection in the orderly way: what was sent arrives, followed by the end of the stream."""

    kind: ClassVar[str] = "close"


@dataclass(frozen=True, slots=True)
class HalfClose(Cut):
    """The server ends its own side of the connection, and goes on receiving."""

    kind: ClassVar[str] = "halfclose"


@dataclass(frozen=True, slots=True)
class Stall(Cut):
    """Nothing is received and nothing is sent for `seconds`, which may be `math.inf`; then the reply goes on."""

    seconds: float

    kind: ClassVar[str] = "stall"

    def __str__(self) -> str:
        time = "for ever" if self.seconds == math.inf else spoken(self.seconds)
        place = f"before reply {self.reply}" if self.reply is not None else self._place()
        return f"stall {time} {place}"


def spoken(seconds: float) -> str:
    """Return a duration as the log and the explanations show it, such as `50 ms` or `1.5 s`, to the microsecond."""
    amount, unit = (seconds * 1000, "ms") if seconds < 1 else (seconds, "s")
    return f"{amount:.6f}".rstrip("0").rstrip(".") + f" {unit}"


def _before(reply: int | None, at: int) -> str:
    return f"byte {at}" if reply is None else f"reply {reply}"
