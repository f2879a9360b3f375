"""Records latencies: collects them in lists, folds a few hundred at a time into counts, and divides these by time.

Recording into a histogram, value by value, would take longer than a whole exchange may. Instead, a latency becomes the
number of a bucket a thousandth wide, and `histogram.py` fills the histogram from the buckets at the end.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest

# A bucket is the upper bits of a double: its exponent and the first 10 bits of its fraction, so there are 1,024 buckets
# for each doubling. That needs no arithmetic, and buckets have the order of their values.
_DROPPED = 42
# A coarse cell of an interval has 64 buckets, so there are 16 cells for each doubling.
COARSE = 6

INTERVAL = 0.1
# When a run has more intervals than this, they are merged in pairs, so that the result of a long run stays small.
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
        fresh: latencies in seconds that are not folded yet. The engine appends to it; it is always the same list.
        buckets: counts by bucket.
    """

    def __init__(self) -> None:
        self.fresh: list[float] = []
        self.buckets: Counter[int] = Counter()

    def fold(self) -> list[int]:
        """Count the fresh latencies and return their buckets."""
        bits = array("Q", array("d", self.fresh).tobytes())
        buckets = [value >> _DROPPED for value in bits]
        self.fresh.clear()
        self.buckets.update(buckets)
        return buckets


@dataclass
class Timeline:
    """What happened over time.

    Attributes:
        width: seconds of an interval.
        intervals: for each interval, the number of latencies in each coarse cell.
        seconds: messages answered in each second; the last may be incomplete.
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
        """Add another process's timeline, which began at the same instant. Either may be widened."""
        while self.width < other.width:
            self.widen()
        while other.width < self.width:
            other.widen()
        both = zip_longest(self.intervals, other.intervals, fillvalue=Counter[int]())
        self.intervals = [left + right for left, right in both]
        self.seconds = [left + right for left, right in zip_longest(self.seconds, other.seconds, fillvalue=0)]


class Recorder:
    """Everything that one process measures in one phase.

    Attributes:
        start: when measuring starts, on the monotonic clock.
        planned: whether the times of sending are planned.
        latency: times from the planned time of sending (without a rate, the actual one) to the end of the reply.
        service: times from the actual time of sending; only if sending is planned.
        connect: times of connecting; only for churn.
        handshake: times of TLS handshakes.
        answered: messages folded so far.
        last: when the last of them was answered, to the precision of a tick; ``start`` if there is none.
        payload: bytes of the answered messages, if sizes vary.
    """

    def __init__(self, start: float, *, planned: bool) -> None:
        self.start = start
        self.planned = planned
        self.latency = Series()
        self.service = Series()
        self.connect = Series()
        self.handshake = Series()
        self.payload = 0
        self.answered = 0
        self.last = start
        self.timeline = Timeline()
        self._interval: Counter[int] = Counter()
        self._second = 0
        self._live: Counter[int] = Counter()
        self._noted = 0

    def record(self, count: int, size: int, planned: float, sent: float, now: float) -> None:
        """Record ``count`` messages of ``size`` bytes that were answered ``now``."""
        self.latency.fresh += [now - planned] * count
        if self.planned:
            self.service.fresh += [now - sent] * count
        self.payload += count * size

    def fold(self) -> None:
        """Count what was recorded since the last call; call it every few hundred messages, because a call is slow."""
        if self.latency.fresh:
            buckets = self.latency.fold()
            self._interval.update([bucket >> COARSE for bucket in buckets])
            self._second += len(buckets)
            self.answered += len(buckets)
        if self.service.fresh:
            self.service.fold()
        if self.connect.fresh:
            self.connect.fold()
        if self.handshake.fresh:
            self.handshake.fold()

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
        """Close the last interval and the last second, which may be incomplete, and return the timeline."""
        self._note_time(now)
        self.timeline.intervals.append(self._interval)
        self.timeline.seconds.append(self._second)
        return self.timeline

    def _note_time(self, now: float) -> None:
        self.fold()
        if self.answered > self._noted:
            self.last, self._noted = now, self.answered

    def live(self) -> Counter[int]:
        """Return the coarse cells of the intervals closed since the last call."""
        live, self._live = self._live, Counter()
        return live
