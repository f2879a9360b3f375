"""Durations, sizes and shares in rules: how they are written, and what their values are.

A value is what its shortest text stands for, so that reading a text and showing the value never changes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from echoserver.clock import format_duration, parse_duration
from echoserver.errors import shown
from echoserver.rates import Amount
from echoserver.sizes import format_size

MOST_SECONDS = 1000 * 3600.0
PARTS = 10**8
"""How many parts a share of 100% has."""
WORD = 64
"""How many bits a drawn number has."""

DURATION = "a duration such as 500ms, 30s, 5m or 1h, at most 1000h"
SIZE = "a number of bytes such as 1000, 64kB or 1MiB, at most 10^12"

_PLAIN = 10_000
_SHARE = re.compile(r"(\d{1,3})(?:\.(\d{1,6}))?", re.ASCII)


def read_duration(text: str) -> float:
    """Return the seconds that a text stands for, to the microsecond.

    Raises
    ------
    ValueError
        It has another form. The message says what is allowed.

    """
    try:
        seconds = parse_duration(format_duration(parse_duration(text)))
    except ValueError:
        raise ValueError(f"{shown(text)} must be {DURATION}") from None
    if seconds > MOST_SECONDS:
        raise ValueError(f"{shown(text)} must be {DURATION}")
    return seconds


def read_positive_duration(text: str) -> float:
    """Return the seconds that a text stands for, which are more than 0. Raises as `read_duration`."""
    seconds = read_duration(text)
    if not seconds:
        raise ValueError(f"{shown(text)} must be {DURATION}, and more than 0")
    return seconds


def read_size(text: str) -> int:
    """Return the bytes that a text stands for. Raises as `read_duration`."""
    try:
        return Amount.parse(text).count
    except ValueError:
        raise ValueError(f"{shown(text)} must be {SIZE}") from None


def show_size(count: int) -> str:
    """Return a short text that `read_size` reads; small numbers as they are."""
    if count < _PLAIN:
        return str(count)
    text = format_size(count)
    return text if text[-2].isalpha() else text.removesuffix("B")


def read_decimal(text: str, places: int) -> int:
    """Return a decimal number with at most so many places, times 10 ** places.

    Raises
    ------
    ValueError
        It has another form.

    """
    match = _SHARE.fullmatch(text)
    if match is None or len(match[2] or "") > places:
        raise ValueError(text)
    return int(match[1] + (match[2] or "").ljust(places, "0"))


def show_decimal(number: int, places: int) -> str:
    """Return the shortest text that `read_decimal` reads."""
    whole, rest = divmod(number, 10**places)
    return f"{whole}.{rest:0{places}}".rstrip("0").rstrip(".") if rest else str(whole)


@dataclass(frozen=True, slots=True)
class Share:
    """A share, exact: so many of 10 ** 8 parts. `str` gives the text that `parse` reads, such as `0.1%`."""

    parts: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Return the share that a text such as `10%` stands for. Raises as `read_duration`."""
        try:
            parts = read_decimal(text.removesuffix("%"), 6)
        except ValueError:
            parts = 0
        if not (text.endswith("%") and 0 < parts <= PARTS):
            raise ValueError(f"{shown(text)} must be a share such as 10% or 0.5%, above 0 and at most 100%")
        return cls(parts)

    def has(self, word: int) -> bool:
        """Return whether a drawn number lies in the share; exact to 2 ** -64."""
        return word * PARTS < self.parts << WORD

    def __str__(self) -> str:
        return show_decimal(self.parts, 6) + "%"


def below(limit: int, word: int) -> int:
    """Return the number from 0 up to, not including, `limit` that a drawn number stands for."""
    return word * limit >> WORD
