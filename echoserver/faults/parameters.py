"""The parameters of the kinds of fault, besides the delays."""

from __future__ import annotations

from dataclasses import dataclass

from echoserver.clock import format_duration
from echoserver.errors import shown
from echoserver.faults.delays import Delays
from echoserver.faults.quantities import Share, read_duration, read_positive_duration, read_size, show_size
from echoserver.rates import Rate


@dataclass(frozen=True, slots=True)
class Throttled:
    """At most so many bytes a second."""

    rate: Rate

    def __str__(self) -> str:
        return str(self.rate)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of `smallest` to `largest` bytes, both included, with `gap` seconds between two."""

    smallest: int
    largest: int
    gap: float

    def __str__(self) -> str:
        sizes = show_size(self.smallest)
        if self.largest != self.smallest:
            sizes += f"..{show_size(self.largest)}"
        return f"{sizes},{format_duration(self.gap)}" if self.gap else sizes


@dataclass(frozen=True, slots=True)
class Stalled:
    """A stall that ends after `seconds`."""

    seconds: float

    def __str__(self) -> str:
        return format_duration(self.seconds)


@dataclass(frozen=True, slots=True)
class Corrupted:
    """A share of the bytes."""

    share: Share

    def __str__(self) -> str:
        return str(self.share)


Parameters = Delays | Throttled | Pieces | Stalled | Corrupted


def parse_throttled(text: str) -> Throttled:
    """Return what the parameter of `throttle` stands for.

    Raises
    ------
    ValueError
        It has another form. The message says what would be right. So do the functions below.

    """
    try:
        rate = Rate.parse(text)
    except ValueError:
        rate = Rate(0, of_bytes=False)
    if not rate.of_bytes:
        raise ValueError(f"{shown(text)} must be bytes per second, such as 64kB/s or 1MiB/s, at most 10^12")
    return Throttled(rate)


def parse_pieces(text: str) -> Pieces:
    """Return what the parameters of `slice` stand for."""
    sizes, comma, gap = text.partition(",")
    smallest, dots, largest = sizes.partition("..")
    low = read_size(smallest.strip())
    high = read_size(largest.strip()) if dots else low
    if not low:
        raise ValueError("a piece of 0 bytes is none; the smallest is 1")
    if high < low:
        raise ValueError(f"{shown(smallest)} is above {shown(largest)}; write {show_size(high)}..{show_size(low)}")
    return Pieces(low, high, read_duration(gap.strip()) if comma else 0.0)


def parse_stalled(text: str) -> Stalled:
    """Return what the parameter of `stall` stands for."""
    return Stalled(read_positive_duration(text))


def parse_corrupted(text: str) -> Corrupted:
    """Return what the parameter of `corrupt` stands for."""
    return Corrupted(Share.parse(text))
