"""Sizes in bytes, as people write them: `512B`, `64KiB`, `16MiB`, `1GB`."""

from __future__ import annotations

import re

# From the largest to the smallest, so that the first that divides a count gives the shortest text.
UNITS = {"GiB": 1024**3, "GB": 1000**3, "MiB": 1024**2, "MB": 1000**2, "KiB": 1024, "kB": 1000, "B": 1}
_SIZE = re.compile(rf"(\d{{1,13}})({'|'.join(UNITS)})", re.ASCII)


def parse_size(text: str) -> int:
    """Return how many bytes a text such as `64KiB` stands for.

    Raises
    ------
    ValueError
        The text has another form. A number without a unit is refused too.

    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * UNITS[match[2]]


def format_size(count: int) -> str:
    """Return the shortest text that `parse_size` reads as this many bytes."""
    unit, size = next((unit, size) for unit, size in UNITS.items() if count % size == 0)
    return f"{count // size}{unit}"
