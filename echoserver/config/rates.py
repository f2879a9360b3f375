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
    count: int
    of_bytes: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        match = _AMOUNT.fullmatch(text)
        if match is None:
            raise ValueError(text)
        count = int(match[1]) * _SIZES[match[2] or "B"]
        if count > _MOST or (count == 0 and text != "0"):
            raise ValueError(text)
        return cls(count, of_bytes=match[2] is not None)


@dataclass(frozen=True, slots=True)
class Rate(Amount):
    @classmethod
    def parse(cls, text: str) -> Self:
        if text == "0":
            return cls(0, of_bytes=False)
        amount = Amount.parse(text.removesuffix("/s"))
        if not text.endswith("/s") or not amount.count:
            raise ValueError(text)
        return cls(amount.count, amount.of_bytes)
