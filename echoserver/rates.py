"""Amounts of messages or bytes, and rates, which are amounts per second: how people write them, and their values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from echoserver.sizes import UNITS, format_size

_AMOUNT = re.compile(rf"(\d{{1,13}})({'|'.join(UNITS)})?", re.ASCII)
_MOST = 10**12


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A count of messages or of bytes.

    Raises
    ------
    ValueError
        The count is not an integer from 0 to 10 ** 12, or is 0 bytes: off has no unit.

    """

    count: int
    """How many; 0 is off."""
    of_bytes: bool
    """Whether bytes are counted, not messages."""

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 0 <= self.count <= _MOST:
            raise ValueError(f"count = {self.count!r}: must be an integer from 0 to {_MOST}")
        if type(self.of_bytes) is not bool or (self.of_bytes and not self.count):
            raise ValueError(f"of_bytes = {self.of_bytes!r}: must be a bool, and False if the count is 0")

    def __str__(self) -> str:
        if not self.of_bytes:
            return str(self.count)
        return format_size(self.count)


class Amount(_Quantity):
    """A number of messages or of bytes. `str` gives the text that `parse` reads."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `100` (messages), `64kB`, `1MiB` or `0` (off) stand for.

        Raises
        ------
        ValueError
            The text has another form, or the count is above 10 ** 12.

        """
        match = _AMOUNT.fullmatch(text)
        if match is None:
            raise ValueError(text)
        count = int(match[1]) * UNITS[match[2] or "B"]
        if count == 0 and text != "0":
            raise ValueError(text)
        return cls(count, of_bytes=match[2] is not None)


class Rate(_Quantity):
    """A number of messages or of bytes per second. `str` gives the text that `parse` reads."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `100/s` (messages), `64kB/s`, `1MiB/s` or `0` (off) stand for.

        Raises
        ------
        ValueError
            The text has another form, or the count is above 10 ** 12.

        """
        amount = Amount.parse(text.removesuffix("/s"))
        if text.endswith("/s") != bool(amount.count):
            raise ValueError(text)
        return cls(amount.count, amount.of_bytes)

    def __str__(self) -> str:
        return f"{super().__str__()}/s" if self.count else "0"
