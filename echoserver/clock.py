"""Time limits: everything here runs on the monotonic clock, so that a wall-clock jump times nobody out."""

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
        The text is none of these.

    """
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    # Divided, since 0.001 has no exact float: 43ms is 0.043, and not a hair more.
    return float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads back as these seconds (to the microsecond)."""
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
    """One moment that all steps of an operation share, so that a slow first step leaves less for the next.

    Any thread may read it or call `expire`; the one attribute is replaced whole.

    Parameters
    ----------
    seconds:
        How far away it is; 0 is off, it never comes.

    """

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = monotonic() + seconds if seconds else math.inf

    def remaining(self) -> float:
        """Return the seconds left, never negative; `math.inf` for a deadline that is off."""
        return max(0.0, self._at - monotonic())

    def timeout(self) -> float | None:
        """Return the seconds left as the standard library's waits take them: `None` waits without limit."""
        left = self.remaining()
        return None if left == math.inf else left

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return monotonic() >= self._at

    def expire(self) -> None:
        """Let it come now."""
        self._at = -math.inf


class Throttle:
    """Lets something through at most once an interval: the warning that would otherwise fill the log.

    Not locked: it belongs to one thread, the one that warns.
    """

    __slots__ = ("_interval", "_next")

    def __init__(self, seconds: float) -> None:
        self._interval = seconds
        self._next = -math.inf

    def ready(self) -> bool:
        """Return whether the interval has passed since this last said yes."""
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + self._interval
        return True
