"""Durations as text, and deadlines shared by the steps of an operation."""

from __future__ import annotations

import re
import time

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PATTERN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?")
# Longer than anybody waits, and far below what poll(2) and the interpreter's clocks can represent.
LONGEST = 24 * 3600.0


def parse_duration(text: str, *, bare_seconds: bool = False) -> float:
    """Read ``500ms``, ``30s``, ``1.5m``, ``1h`` or ``0``.

    Args:
        text: the duration as typed.
        bare_seconds: also accept a number without a unit, as ping(8) does for ``-i``.

    Returns:
        The duration in seconds, from 0 to 24 hours.

    Raises:
        ValueError: the text is not a duration; the message names it and says what would be right.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 500ms, 30s, 5m or 1h")
    number, unit = float(match[1]), match[2]
    if unit is None and number and not bare_seconds:
        raise ValueError(
            f"{text!r} has no unit: write {text.strip()}s for seconds or {text.strip()}ms for milliseconds"
        )
    seconds = number * _UNITS[unit or "s"]
    if seconds > LONGEST:
        raise ValueError(f"{text!r} is too long: at most 24h is possible")
    return seconds


def format_duration(seconds: float) -> str:
    """Format a duration as `parse_duration` reads it, in the largest unit that is exact to a millisecond."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0"
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return (
        f"{milliseconds}ms"
        if milliseconds < 1000
        else f"{milliseconds // 1000}.{milliseconds % 1000:03}".rstrip("0") + "s"
    )


class Deadline:
    """A point on the monotonic clock, or never; all steps of an operation share one."""

    def __init__(self, seconds: float | None) -> None:
        """Set the deadline ``seconds`` from now; ``None`` is never."""
        self._at = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Return the seconds that are left, at least 0; ``None`` if there is no limit."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def passed(self) -> bool:
        """Return whether the deadline has passed."""
        return self._at is not None and time.monotonic() >= self._at

    def within(self, seconds: float | None) -> Deadline:
        """Return the earlier of this deadline and one ``seconds`` from now."""
        other = Deadline(seconds)
        if other._at is None or (self._at is not None and self._at <= other._at):
            return self
        return other
