"""The kinds of value an option can have: how each is read from a flag, a file or Python, checked, and shown.

A kind never names the option it serves: it raises `ValueError` with what is allowed, and `config` adds which and where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Generic, TypeVar

from echoserver.clock import format_duration, parse_duration
from echoserver.config.rates import Amount, Rate

T = TypeVar("T")
A = TypeVar("A", bound=Amount)
_SHOWN = 80
Network = IPv4Network | IPv6Network


class Kind(Generic[T]):
    """One kind of value."""

    metavar: str
    allowed: str
    """Completes the sentence "must be ..."."""
    many = False
    """Whether its flag may be given more than once."""

    def check(self, value: object) -> T:
        """Return a value given in Python, if it is allowed; else raise `ValueError`."""
        raise NotImplementedError

    def load(self, value: object) -> T:
        """Return a value that stood in a TOML file."""
        return self.check(value)

    def parse(self, text: str) -> T:
        """Return the value that a flag or an environment variable spells."""
        return self.load(text)

    def parse_all(self, texts: Sequence[str]) -> T:
        """Return the value that several flags spell, where more than one is taken."""
        (text,) = texts
        return self.parse(text)

    def show(self, value: T) -> object:
        """Return the value as TOML has it."""
        return value


class Text(Kind[str]):
    """A text that is not empty and stays on one line."""

    allowed = "a text that is not empty, without control characters"

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ValueError(self.allowed)
        return value


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
    """A length of time, in Python in seconds; 0 is off."""

    metavar = "DURATION"
    allowed = "a duration such as 500ms, 30s, 5m or 1h, at most 1000h; 0 is off"
    _most = 1000 * 3600.0

    def check(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(self.allowed)
        # A limit below a millisecond is a slip of units: no limit here is enforced so finely.
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


class AmountValue(Kind[A]):
    """A number of messages or bytes; 0 is off."""

    metavar = "AMOUNT"
    allowed = "a number of messages such as 100, or of bytes such as 64kB or 1MiB, at most 10^12; 0 is off"

    def __init__(self, kind: type[A]) -> None:
        self._type = kind

    def check(self, value: object) -> A:
        try:
            if isinstance(value, Amount):
                return self._type.parse(str(value))
            if isinstance(value, str):
                return self._type.parse(value)
        except ValueError:
            pass
        raise ValueError(self.allowed)

    def load(self, value: object) -> A:
        return self.check("0" if value == 0 and type(value) is int else value)

    def show(self, value: A) -> object:
        return str(value) if value.count else 0


class RateValue(AmountValue[Rate]):
    """So much a second; 0 is off."""

    metavar = "RATE"
    allowed = "messages a second such as 100/s, or bytes such as 64kB/s or 1MiB/s, at most 10^12; 0 is off"

    def __init__(self) -> None:
        super().__init__(Rate)


class HandlerName(Kind[Any]):
    """A handler: its name in text, in Python also the class or function itself."""

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
    """Names with values, which the handler checks: a flag for each `KEY=VALUE`; in the environment, a line for each."""

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


class Networks(Kind[Sequence[Network]]):
    """IP addresses and networks: a flag for each; in the environment, a line for each."""

    metavar = "NETWORK"
    allowed = (
        "IP addresses, or networks with no bit set beyond the mask, such as 192.0.2.7 or 10.0.0.0/8 (in a file a list)"
    )
    many = True

    def check(self, value: object) -> Sequence[Network]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise ValueError(self.allowed)
        try:
            # From a number it would make an address, too.
            return tuple(entry if isinstance(entry, Network) else ip_network(_text(entry)) for entry in value)
        except ValueError:
            raise ValueError(self.allowed) from None

    def parse(self, text: str) -> Sequence[Network]:
        return self.check(text.removesuffix("\n").split("\n"))

    def parse_all(self, texts: Sequence[str]) -> Sequence[Network]:
        return self.check(texts)

    def show(self, value: Sequence[Network]) -> object:
        return [str(network.network_address) if network.num_addresses == 1 else str(network) for network in value]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """All that is known of one option but its name and its default, which the field of the config has."""

    kind: Kind[T]
    help: str
    why: str


def shown(value: object) -> str:
    """Return a refused value as an error message shows it: on one line, and not endlessly long."""
    try:
        text = repr(value)
    except ValueError:  # a number beyond what Python writes out (sys.set_int_max_str_digits)
        return "this huge number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
