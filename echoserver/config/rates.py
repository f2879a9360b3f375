"""Amounts and rates: numbers of messages or of bytes, and so much a second."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_SIZES = {"B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}
_AMOUNT = re.compile(rf"(\d{{1,12}})({'|'.join(_SIZES)})?", re.ASCII)
_MOST = 10**12


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of messages or of bytes. A count of 0 means that there is no limit."""

    count: int
    of_bytes: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `100` (messages), `64kB` or `1MiB` stand for; `0` is a count of 0.

        Raises
        ------
        ValueError
            The text is none of these, or stands for more than 10 ** 12.

        """
        match = _AMOUNT.fullmatch(text)
        if match is None:
            raise ValueError(text)
        count = int(match[1]) * _SIZES[match[2] or "B"]
        if count > _MOST or (count == 0 and text != "0"):
            raise ValueError(text)
        return cls(count, of_bytes=match[2] is not None)

    def __str__(self) -> str:
        if not self.of_bytes:
            return str(self.count)
        # The largest unit that leaves a whole number; among equals the decimal one, which is read more easily.
        unit = max((unit for unit in _SIZES if self.count % _SIZES[unit] == 0), key=lambda unit: _SIZES[unit])
        return f"{self.count // _SIZES[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Rate(Amount):
    """So much a second. A count of 0 means that there is no limit."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `100/s` (messages), `64kB/s` or `1MiB/s` stand for; `0` is a count of 0.

        Raises
        ------
        ValueError
            The text is none of these, or stands for more than 10 ** 12 a second.

        """
        if text == "0":
            return cls(0, of_bytes=False)
        amount = Amount.parse(text.removesuffix("/s"))
        if not text.endswith("/s") or not amount.count:
            raise ValueError(text)
        return cls(amount.count, amount.of_bytes)

    def __str__(self) -> str:
        # Not super(): a dataclass with slots is made anew, and the class that super() knows is the first one.
        return f"{Amount.__str__(self)}/s" if self.count else "0"
