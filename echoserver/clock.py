"""Time limits. Everything here uses the monotonic clock, so a change of the wall clock expires nothing."""

from __future__ import annotations

import math
import re
from time import monotonic

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds that `500ms`, `30s`, `5m`, `1.5h` or `0` (off) stand for.

    Raises
    ------
    ValueError
        The text has another form.

    """
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    # 0.001 has no exact float: dividing makes 43ms exactly 0.043, which multiplying would not.
    return float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads back as this duration, to the microsecond."""
    if seconds == 0:
        return "0"
    for unit in ("h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    if seconds < 1:
        return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


class Deadline:
    """A point in time shared by all steps of an operation, so that a slow step leaves less time for the next.

    Any thread may read it or call `expire`: the only attribute is replaced as a whole.

    Parameters
    ----------
    seconds:
        The time from now until it expires; 0 means that it never expires.

    """

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = monotonic() + seconds if seconds else math.inf

    def remaining(self) -> float:
        """Return the seconds left, never negative; `math.inf` if it never expires."""
        return max(0.0, self._at - monotonic())

    def timeout(self) -> float | None:
        """Return the seconds left as a timeout for the standard library: `None` waits without limit."""
        left = self.remaining()
        return None if left == math.inf else left

    @property
    def expired(self) -> bool:
        """Whether the time has come."""
        return monotonic() >= self._at

    def expire(self) -> None:
        """Expire now, whatever time is left."""
        self._at = -math.inf


class Throttle:
    """Allows something at most once per interval, such as a warning that would otherwise fill the log.

    It has no lock: it belongs to the thread that logs the warning.

    Parameters
    ----------
    seconds:
        The length of the interval.

    """

    __slots__ = ("_interval", "_next")

    def __init__(self, seconds: float) -> None:
        self._interval = seconds
        self._next = -math.inf

    def ready(self) -> bool:
        """Return whether the interval has passed since this last returned true."""
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + self._interval
        return True
