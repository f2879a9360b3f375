"""The kinds of value an option can have: how each is read from a flag, a file or Python, checked, and shown.

A kind doesn't know which option it is for. It raises `ValueError` with what is allowed, or a `RefusalError`, and its
caller adds the option and the origin of the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from echoserver.clock import format_duration, parse_duration
from echoserver.errors import shown
from echoserver.rates import Amount, Rate

T = TypeVar("T")


class RefusalError(ValueError):
    """A refusal whose text says all: what is refused, what is wrong, and what would be right."""


class Kind(Generic[T]):
    """One kind of value."""

    metavar: str
    allowed: str
    """Completes the sentence "must be ..."."""
    many = False
    """Whether its flag may be given more than once."""

    def check(self, value: object) -> T:
        """Return a value given in Python, or raise `ValueError` if it isn't allowed."""
        raise NotImplementedError

    def load(self, value: object) -> T:
        """Return a value that comes from a TOML file."""
        return self.check(value)

    def parse(self, text: str) -> T:
        """Return the value of the text of a flag or an environment variable."""
        return self.load(text)

    def parse_all(self, texts: Sequence[str]) -> T:
        """Return the value of several flags, for a kind with `many`."""
        (text,) = texts
        return self.parse(text)

    def show(self, value: T) -> object:
        """Return the value as it is written in TOML."""
        return value


class Text(Kind[str]):
    """A text that is not empty and has no control characters."""

    allowed = "a text that is not empty, without control characters"

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ValueError(self.allowed)
        return value


class FileName(Kind[str]):
    """The path of a file, or nothing."""

    metavar = "FILE"
    allowed = "the path of a file, without control characters; empty in a file is none"

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(self.allowed)
        return value

    def parse(self, text: str) -> str:
        if not text:
            raise ValueError(self.allowed)
        return self.check(text)


class Choice(Kind[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.metavar = "|".join(words)
        self.allowed = "one of " + ", ".join(words)

    def check(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(self.allowed)
        return value


class Whole(Kind[int]):
    """A whole number between two bounds, both allowed."""

    def __init__(self, low: int, high: int, metavar: str = "N") -> None:
        self.low, self.high, self.metavar = low, high, metavar
        self.allowed = f"a whole number from {low} to {high}"

    def check(self, value: object) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        return value

    def parse(self, text: str) -> int:
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
            raise ValueError(self.allowed)
        return self.check(int(text))


class Duration(Kind[float]):
    """A duration, in Python in seconds; 0 is off."""

    metavar = "DURATION"
    allowed = "a duration such as 500ms, 30s, 5m or 1h, at most 1000h; 0 is off"
    _most = 1000 * 3600.0

    def check(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(self.allowed)
        # A value below a millisecond is a mistake of units: no limit is enforced that precisely.
        if value != 0 and not 0.001 <= value <= self._most:
            raise ValueError(self.allowed)
        return float(value)

    def load(self, value: object) -> float:
        if isinstance(value, str):
            try:
                return self.check(parse_duration(value))
            except ValueError:
                raise ValueError(self.allowed) from None
        if value == 0 and type(value) is int:
            return 0.0
        raise ValueError(self.allowed)  # a bare number has no unit

    def show(self, value: float) -> object:
        return format_duration(value) if value else 0


class AmountKind(Kind[Amount]):
    """A number of messages or bytes; 0 is off."""

    metavar = "AMOUNT"
    allowed = "a number of messages such as 100, or of bytes such as 64kB or 1MiB, at most 10^12; 0 is off"

    def check(self, value: object) -> Amount:
        return value if isinstance(value, Amount) else self._read(value)

    def load(self, value: object) -> Amount:
        return self._read("0" if value == 0 and type(value) is int else value)

    def show(self, value: Amount) -> object:
        return str(value) if value.count else 0

    def _read(self, value: object) -> Amount:
        try:
            return Amount.parse(value if isinstance(value, str) else "")
        except ValueError:
            raise ValueError(self.allowed) from None


class RateKind(Kind[Rate]):
    """A number of messages or bytes per second; 0 is off."""

    metavar = "RATE"
    allowed = "messages per second such as 100/s, or bytes such as 64kB/s or 1MiB/s, at most 10^12; 0 is off"

    def check(self, value: object) -> Rate:
        return value if isinstance(value, Rate) else self._read(value)

    def load(self, value: object) -> Rate:
        return self._read("0" if value == 0 and type(value) is int else value)

    def show(self, value: Rate) -> object:
        return str(value) if value.count else 0

    def _read(self, value: object) -> Rate:
        try:
            return Rate.parse(value if isinstance(value, str) else "")
        except ValueError:
            raise ValueError(self.allowed) from None


class HandlerName(Kind[Any]):
    """A handler: its name, or in Python also the class or function itself."""

    metavar = "NAME"
    allowed = "a handler's name, package.module:attribute, or in Python a Handler class or a function"

    def check(self, value: object) -> Any:
        if callable(value) or (isinstance(value, str) and value and value.isprintable()):
            return value
        raise ValueError(self.allowed)

    def load(self, value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError(self.allowed)
        return self.check(value)

    def show(self, value: object) -> object:
        return value if isinstance(value, str) else getattr(value, "__qualname__", repr(value))


class Table(Kind[Mapping[str, Any]]):
    """Names and values, which the handler checks: a flag for each `KEY=VALUE`; in the environment, a line for each."""

    metavar = "KEY=VALUE"
    allowed = "KEY=VALUE, or a table of texts, numbers and booleans"
    many = True

    def check(self, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(self.allowed)
        for key, entry in value.items():
            if not isinstance(key, str) or not isinstance(entry, str | int | float | bool):
                raise ValueError(self.allowed)
        return dict(value)

    def parse(self, text: str) -> Mapping[str, Any]:
        return self.parse_all([line for line in text.split("\n") if line])

    def parse_all(self, texts: Sequence[str]) -> Mapping[str, Any]:
        table = {}
        for pair in texts:
            key, equals, value = pair.partition("=")
            if not (key and equals):
                raise ValueError(self.allowed)
            table[key] = value
        return table


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """The declaration of an option, without its name and default, which the field of `ServerConfig` has."""

    kind: Kind[T]
    help: str
    why: str
    fixed: bool = False
    """Whether a server that runs keeps the value that it was started with."""


def problem_of(value: object, error: ValueError) -> str:
    """Return the sentence that refuses a value, from what its kind has raised."""
    return str(error) if isinstance(error, RefusalError) else f"{shown(value)} is refused: must be {error}"
