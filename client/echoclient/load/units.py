"""Numbers for people: three significant digits and a unit."""

from __future__ import annotations

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def time_text(seconds: float) -> str:
    """Format a time with three significant digits: ``812 us``, ``1.23 ms``, ``12.3 ms``, ``1.20 s``, ``75.0 s``."""
    for size, unit in _UNITS:
        # What rounds up to 1.00 of a unit is shown in that unit: 999.96 us is 1.00 ms.
        if seconds >= size * 0.9995:
            return f"{_three(seconds / size)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def count_text(number: float) -> str:
    """Format a number with separators (``71,234``); a fraction below ten has three digits."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.3g}"


def megabytes_text(megabytes: float) -> str:
    """Format megabytes per second: ``4.56 MB/s``, ``986 MB/s``."""
    return f"{_three(megabytes)} MB/s"


def _three(number: float) -> str:
    for limit, decimals in ((9.995, 2), (99.95, 1)):
        if number < limit:
            return f"{number:.{decimals}f}"
    return f"{number:,.0f}"
