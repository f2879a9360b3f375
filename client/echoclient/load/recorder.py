"""Latencies as they come: collected in lists, folded into counts a few hundred at a time, cut into intervals.

Recording into a histogram, value by value, would take longer than a whole exchange may. Instead, a latency becomes the
number of a bucket a thousandth wide, and `histogram.py` fills the histogram from the buckets at the end.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest

# A bucket is the upper bits of a double: its exponent and the first 10 bits of its fraction, so that there are 1,024
# buckets to each doubling. No arithmetic is needed, and the order of buckets is that of the values.
_DROPPED = 42
# The coarse cells of an interval: 64 buckets each, which is 16 cells to a doubling.
COARSE = 6

INTERVAL = 0.1
# When a run has more intervals than this they are merged in pairs, so that a result stays small however long the run.
MOST_INTERVALS = 240


def middle_of(bucket: int) -> float:
    """Return the seconds in the middle of a bucket."""
    return _double((bucket << _DROPPED) + (1 << (_DROPPED - 1)))


def edge_of(cell: int) -> float:
    """Return the seconds at which a coarse cell begins."""
    return _double(cell << (_DROPPED + COARSE))


def _double(bits: int) -> float:
    return float(struct.unpack("=d", struct.pack("=Q", bits))[0])


class Series:
    """Latencies of one kind.

    Attributes:
        fresh: seconds each, not folded yet. The engine's loop appends to it; the list object never changes.
        buckets: count by bucket.
    """

    def __init__(self) -> None:
        self.fresh: list[float] = []
        self.buckets: Counter[int] = Counter()

    def fold(self) -> list[int]:
        """Count what is fresh and return its buckets."""
        bits = array("Q", array("d", self.fresh).tobytes())
        buckets = [value >> _DROPPED for value in bits]
        self.fresh.clear()
        self.buckets.update(buckets)
        return buckets


@dataclass
class Timeline:
    """What happened in each stretch of a run.

    Attributes:
        width: seconds of an interval.
        intervals: for each, how many latencies fell into which coarse cell.
        seconds: messages answered in each whole or begun second.
    """

    width: float = INTERVAL
    intervals: list[Counter[int]] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)

    def widen(self) -> None:
        """Merge the intervals in pairs."""
        pairs = zip_longest(self.intervals[::2], self.intervals[1::2], fillvalue=Counter[int]())
        self.intervals = [left + right for left, right in pairs]
        self.width *= 2

    def merge(self, other: Timeline) -> None:
        """Add another process's timeline, which began at the same instant. Both may be widened."""
        while self.width < other.width:
            self.widen()
        while other.width < self.width:
            other.widen()
        both = zip_longest(self.intervals, other.intervals, fillvalue=Counter[int]())
        self.intervals = [left + right for left, right in both]
        self.seconds = [left + right for left, right in zip_longest(self.seconds, other.seconds, fillvalue=0)]


class Recorder:
    """Everything measured in one phase of a run, by one process.

    Attributes:
        start: when measuring starts, on the monotonic clock.
        planned: whether the times of sending are planned ahead.
        latency: from the planned time of sending, which without a rate is the actual one, to the end of the reply.
        service: from the actual time of sending; only where sending is planned.
        connect: of each connect; only where connections are what is measured.
        answered: messages folded so far.
        last: when the last of them was, to a tick; ``start`` if there is none.
        payload: bytes of the messages answered, where sizes vary.
    """

    def __init__(self, start: float, *, planned: bool) -> None:
        self.start = start
        self.planned = planned
        self.latency = Series()
        self.service = Series()
        self.connect = Series()
        self.payload = 0
        self.answered = 0
        self.last = start
        self.timeline = Timeline()
        self._interval: Counter[int] = Counter()
        self._second = 0
        self._live: Counter[int] = Counter()
        self._noted = 0

    def record(self, count: int, size: int, planned: float, sent: float, now: float) -> None:
        """Take ``count`` messages of ``size`` bytes that were answered ``now``."""
        self.latency.fresh += [now - planned] * count
        if self.planned:
            self.service.fresh += [now - sent] * count
        self.payload += count * size

    def fold(self) -> None:
        """Count what came since the last call; call it every few hundred messages, for each call takes a moment."""
        if self.latency.fresh:
            buckets = self.latency.fold()
            self._interval.update([bucket >> COARSE for bucket in buckets])
            self._second += len(buckets)
            self.answered += len(buckets)
        if self.service.fresh:
            self.service.fold()
        if self.connect.fresh:
            self.connect.fold()

    def tick(self, now: float) -> None:
        """Close the intervals that have ended by ``now``."""
        self._note_time(now)
        timeline = self.timeline
        while now >= self.start + (len(timeline.intervals) + 1) * timeline.width:
            timeline.intervals.append(self._interval)
            self._live += self._interval
            self._interval = Counter()
            if len(timeline.intervals) >= MOST_INTERVALS:
                timeline.widen()
        while now >= self.start + len(timeline.seconds) + 1:
            timeline.seconds.append(self._second)
            self._second = 0

    def finish(self, now: float) -> Timeline:
        """Close what is open and return the timeline; the last interval and the last second may be short ones."""
        self._note_time(now)
        self.timeline.intervals.append(self._interval)
        self.timeline.seconds.append(self._second)
        return self.timeline

    def _note_time(self, now: float) -> None:
        self.fold()
        if self.answered > self._noted:
            self.last, self._noted = now, self.answered

    def live(self) -> Counter[int]:
        """Return the coarse cells of the intervals that were closed since the last call."""
        live, self._live = self._live, Counter()
        return live
