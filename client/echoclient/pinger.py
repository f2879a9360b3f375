"""What `echoclient ping` does apart from printing: sends on time, matches the replies, and keeps the statistics."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoclient.display import format_milliseconds
from echoclient.duplex import Duplex
from echoclient.durations import Deadline, format_duration
from echoclient.errors import ClientError, ClosedError, CorruptError, DiffersError, TimedOutError
from echoclient.expect import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.interrupt import Interrupt
    from echoclient.session import Session

PERCENTILES = (50, 90, 99)


@dataclass
class PingStats:
    """The statistics of one run.

    Attributes:
        sent: messages sent.
        damaged: replies that were not what was sent.
        in_flight: messages that were unanswered, but not overdue, when the run was interrupted.
        stray_bytes: bytes that arrived when no reply was due.
        round_trips: seconds that each intact reply took, late ones included, in the order of sending.
    """

    sent: int = 0
    damaged: int = 0
    in_flight: int = 0
    stray_bytes: int = 0
    round_trips: list[float] = field(default_factory=list)

    @property
    def received(self) -> int:
        """Replies that were intact."""
        return len(self.round_trips)

    @property
    def lost(self) -> int:
        """Messages that were not answered, although they had the time."""
        return self.sent - self.received - self.damaged - self.in_flight

    @property
    def clean(self) -> bool:
        """Whether every reply arrived intact, and nothing else arrived."""
        return not (self.lost or self.damaged or self.stray_bytes)

    def round_trip_ms(self) -> dict[str, float]:
        """Return min, mean, percentiles (by nearest rank, so each is a measured time) and max; empty if none came."""
        if not self.round_trips:
            return {}
        ordered = sorted(1000 * seconds for seconds in self.round_trips)
        figures = {"min": ordered[0], "mean": math.fsum(ordered) / len(ordered)}
        figures |= {f"p{rank}": ordered[math.ceil(rank * len(ordered) / 100) - 1] for rank in PERCENTILES}
        return figures | {"max": ordered[-1]}

    def as_dict(self) -> dict[str, object]:
        """Return the statistics under the names that scripts read; times are in milliseconds."""
        return {
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "damaged": self.damaged,
            "in_flight": self.in_flight,
            "stray_bytes": self.stray_bytes,
            "round_trip_ms": {name: round(ms, 6) for name, ms in self.round_trip_ms().items()},
        }

    def __str__(self) -> str:
        """Return the two lines that end a run; what did not occur is left out."""
        share = 100 * self.lost / self.sent if self.sent else 0
        line = f"{self.sent} sent, {self.received} received, {self.lost} lost ({share:.3g} %)"
        for count, what in (
            (self.damaged, "damaged"),
            (self.in_flight, "still in flight"),
            (self.stray_bytes, "stray bytes"),
        ):
            if count:
                line += f", {count} {what}"
        figures = self.round_trip_ms()
        if not figures:
            return line
        return f"{line}\nround trip {'/'.join(figures)} = {'/'.join(f'{ms:.3f}' for ms in figures.values())} ms"


class Pinger:
    """Sends numbered messages on time, and matches what comes back by its position in the stream.

    TCP keeps the order, so what arrives is the reply to the oldest unanswered message. It is timed and counted when it
    arrives, however late.
    """

    def __init__(
        self, session: Session, *, size: int, interval: float, timeout: float, report: Callable[[str], None]
    ) -> None:
        self.stats = PingStats()
        self._session = session
        self._duplex = Duplex(session)
        self._size = size
        self._interval = interval
        self._timeout = timeout
        self._report = report
        self._next_at = 0.0
        self._waiting: deque[tuple[int, float]] = deque()  # (sequence number, time of sending), oldest first
        self._overdue = 0  # the highest sequence number reported as overdue
        self._received = bytearray()
        self._corrupt_at: int | None = None  # the first wrong byte of all replies

    def failure(self) -> ClientError | None:
        """Return what went wrong in a run whose connection held; None if every reply was right."""
        stats, target = self.stats, self._session.target
        if stats.lost:
            late = TimedOutError(f"{target}: {stats.lost} of {stats.sent} replies did not come")
            return late.after(self._session.bytes_in, self._size * stats.sent)
        if stats.stray_bytes:
            return DiffersError(f"{target}: received {stats.stray_bytes} bytes too many")
        # Only now: after a reply that is missing or came twice, each later one is held against another message.
        if self._corrupt_at is not None:
            return CorruptError(f"{target}: at {self._corrupt_at}")
        return None

    def run(self, count: int | None, interrupt: Interrupt) -> None:
        """Ping ``count`` times, or until ``interrupt``.

        Raises:
            ClientError: the connection was lost; `stats` has what happened until then.
        """
        while not interrupt.seen:
            now = time.monotonic()
            self._report_overdue(now)
            all_sent = count is not None and self.stats.sent >= count
            if all_sent and not self._in_time():
                return
            if self._duplex.ended:
                raise ClosedError(f"{self._session.target}: the server ended the connection")
            # Not while part of the last message is unsent, or the backlog would grow without bound.
            may_send = not all_sent and not self._duplex.unsent and bool(self._interval or not self._in_time())
            if may_send and now >= self._next_at:
                self._send(now)
                continue
            wake_at = [self._next_at] if may_send else []
            if self._timeout and (first := self._in_time()):
                wake_at.append(first + self._timeout)
            data = self._duplex.pump(Deadline(max(0.0, min(wake_at) - now) if wake_at else None), interrupt.fileno())
            self._take(data, time.monotonic())
        self.stats.in_flight = sum(sequence > self._overdue for sequence, _ in self._waiting)

    def _in_time(self) -> float | None:
        """Return when the oldest message that is not overdue was sent; None if there is none."""
        return next((sent for sequence, sent in self._waiting if sequence > self._overdue), None)

    def _send(self, now: float) -> None:
        self.stats.sent += 1
        self._duplex.queue(payload(self.stats.sent, self._size))
        self._waiting.append((self.stats.sent, now))
        self._next_at = now + self._interval

    def _take(self, data: bytes, now: float) -> None:
        self._received += data
        while self._waiting and len(self._received) >= self._size:
            sequence, sent = self._waiting.popleft()
            reply = bytes(self._received[: self._size])
            del self._received[: self._size]
            difference = compare(payload(sequence, self._size), reply)
            if difference is None:
                self.stats.round_trips.append(now - sent)
                took = format_milliseconds(now - sent)
                self._report(f"{self._size} bytes from {self._session.peer}: seq={sequence} time={took}")
            else:
                if self._corrupt_at is None:
                    self._corrupt_at = (sequence - 1) * self._size + difference.offset
                self.stats.damaged += 1
                self._report(f"damaged reply from {self._session.peer}: seq={sequence} {difference.what}")
        if not self._waiting:
            self.stats.stray_bytes += len(self._received)
            self._received.clear()

    def _report_overdue(self, now: float) -> None:
        for sequence, sent in self._waiting:
            if self._timeout and sequence > self._overdue and now - sent >= self._timeout:
                self._overdue = sequence
                self._report(f"no reply within {format_duration(self._timeout)}: seq={sequence}")


def payload(sequence: int, size: int) -> bytes:
    """Return message number ``sequence``: digits that differ each time, and a newline if it fits.

    Digits are the same in upper case. The newline is for servers that answer line by line.
    """
    number = b"%010d" % sequence
    digits = (number * (size // len(number) + 1))[: size - 1]
    return digits + (b"\n" if digits else b"0")
