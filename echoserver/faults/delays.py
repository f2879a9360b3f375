"""How long a delay is: fixed, weighted in percent, or drawn from a distribution.

Everything is computed in whole microseconds, with integers and with decimals of 28 digits, whose logarithms and
exponentials are correctly rounded. Those of the C library differ in the last digit between systems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from echoserver.clock import format_duration
from echoserver.errors import did_you_mean, shown
from echoserver.faults.quantities import (
    MOST_SECONDS,
    PARTS,
    WORD,
    below,
    read_decimal,
    read_duration,
    read_positive_duration,
    show_decimal,
)

_MICROS = 10**6
_MOST = int(MOST_SECONDS) * _MICROS
_CALL = re.compile(r"([a-z]*)\((.*)\)")
_FORMS = "50ms, 50ms:10,200ms:2 (in percent), normal(50ms,10ms), uniform(10ms,90ms) or pareto(10ms,1.5)"


def _context() -> Context:
    # All of it is given: what is left out comes from the default context, which a program may change. One for each
    # draw, since a context has flags that an operation sets.
    return Context(28, ROUND_HALF_EVEN, -999_999, 999_999, 1, 0, [], [])


def _micros(seconds: float) -> int:
    return round(seconds * _MICROS)


def _clamped(micros: int) -> float:
    return min(max(micros, 0), _MOST) / _MICROS


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    seconds: float

    def sample(self, words: Iterator[int]) -> float:
        """Return the seconds."""
        return self.seconds

    def __str__(self) -> str:
        return format_duration(self.seconds)


@dataclass(frozen=True, slots=True)
class Weighted:
    """One of several, each with its share in parts of `PARTS`; no delay for what is left."""

    choices: tuple[tuple[float, int], ...]

    def sample(self, words: Iterator[int]) -> float:
        """Return the seconds that are drawn; 0 for the share that is left."""
        word = next(words)
        upper = 0
        for seconds, parts in self.choices:
            upper += parts
            if word * PARTS < upper << WORD:
                return seconds
        return 0.0

    def __str__(self) -> str:
        return ",".join(f"{format_duration(seconds)}:{show_decimal(parts, 6)}" for seconds, parts in self.choices)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each duration between two, both included, as likely as any other."""

    lowest: float
    highest: float

    def sample(self, words: Iterator[int]) -> float:
        """Return the seconds that are drawn."""
        low, high = _micros(self.lowest), _micros(self.highest)
        return _clamped(low + below(high - low + 1, next(words)))

    def __str__(self) -> str:
        return f"uniform({format_duration(self.lowest)},{format_duration(self.highest)})"


@dataclass(frozen=True, slots=True)
class Normal:
    """The normal distribution; what would be negative is 0."""

    mean: float
    deviation: float

    def sample(self, words: Iterator[int]) -> float:
        """Return the seconds that are drawn (Marsaglia's polar method)."""
        one = 1 << 2 * WORD
        while True:
            # Odd numbers, symmetric around 0, as fractions of 2 ** WORD.
            x, y = (2 * next(words) + 1 - (1 << WORD) for _ in range(2))
            square = x * x + y * y
            if square < one:
                break
        context = _context()
        inside = context.divide(Decimal(square), Decimal(one))
        factor = context.sqrt(context.divide(context.multiply(Decimal(-2), context.ln(inside)), inside))
        normal = context.divide(context.multiply(Decimal(x), factor), Decimal(1 << WORD))
        offset = context.multiply(normal, Decimal(_micros(self.deviation)))
        return _clamped(_micros(self.mean) + int(context.to_integral_value(offset)))

    def __str__(self) -> str:
        return f"normal({format_duration(self.mean)},{format_duration(self.deviation)})"


@dataclass(frozen=True, slots=True)
class Pareto:
    """The Pareto distribution: most are near the least, and a few are very long, up to 1000 hours."""

    least: float
    shape: int
    """In thousandths; the smaller, the longer the long ones."""

    def sample(self, words: Iterator[int]) -> float:
        """Return the seconds that are drawn, by inversion."""
        context = _context()
        share = context.divide(Decimal(next(words) + 1), Decimal(1 << WORD))
        exponent = context.divide(context.multiply(context.ln(share), Decimal(-1000)), Decimal(self.shape))
        value = context.multiply(Decimal(_micros(self.least)), context.exp(exponent))
        return MOST_SECONDS if value > _MOST else _clamped(int(context.to_integral_value(value)))

    def __str__(self) -> str:
        return f"pareto({format_duration(self.least)},{show_decimal(self.shape, 3)})"


Delays = Fixed | Weighted | Uniform | Normal | Pareto


def parse_delays(text: str) -> Delays:
    """Return what the parameters of `delay` stand for.

    Raises
    ------
    ValueError
        They have another form. The message says what would be right.

    """
    call = _CALL.fullmatch(text)
    if call is not None:
        return _parse_call(call[1], [part.strip() for part in call[2].split(",")])
    if ":" in text:
        return _parse_weighted(text.split(","))
    if not text or "," in text:
        raise ValueError(f"{shown(text)} must be one of {_FORMS}")
    return Fixed(read_positive_duration(text))


def _parse_weighted(parts: Sequence[str]) -> Weighted:
    choices = []
    for part in parts:
        duration, _, weight = part.strip().partition(":")
        try:
            percent = read_decimal(weight.removesuffix("%"), 6)
        except ValueError:
            percent = 0
        if not percent:
            raise ValueError(f"{shown(part)} must be a duration and its percent, such as 50ms:10")
        choices.append((read_positive_duration(duration), percent))
    total = sum(percent for _, percent in choices)
    if total > PARTS:
        raise ValueError(f"the weights are {show_decimal(total, 6)}% together; they must be at most 100%")
    return Weighted(tuple(choices))


def _uniform(lowest: str, highest: str) -> Uniform:
    low, high = read_duration(lowest), read_positive_duration(highest)
    if high < low:
        raise ValueError(f"{lowest} is above {highest}; write uniform({highest},{lowest})")
    return Uniform(low, high)


def _normal(mean: str, deviation: str) -> Normal:
    return Normal(read_duration(mean), read_positive_duration(deviation))


def _pareto(least: str, shape: str) -> Pareto:
    try:
        thousandths = read_decimal(shape, 3)
    except ValueError:
        thousandths = 0
    if not thousandths:
        raise ValueError(f"the shape {shown(shape)} must be a number above 0 and below 1000, such as 1.5")
    return Pareto(read_positive_duration(least), thousandths)


_DISTRIBUTIONS: dict[str, tuple[Callable[[str, str], Delays], tuple[str, str], str]] = {
    "normal": (_normal, ("mean", "deviation"), "normal(50ms,10ms)"),
    "uniform": (_uniform, ("lowest", "highest"), "uniform(10ms,90ms)"),
    "pareto": (_pareto, ("least", "shape"), "pareto(10ms,1.5)"),
}


def _parse_call(name: str, arguments: Sequence[str]) -> Delays:
    if name not in _DISTRIBUTIONS:
        raise ValueError(f"there is no distribution {shown(name)}; {did_you_mean(name, _DISTRIBUTIONS)}")
    make, names, example = _DISTRIBUTIONS[name]
    values = dict(zip(names, arguments, strict=False))
    if any("=" in argument for argument in arguments):
        pairs = [argument.partition("=") for argument in arguments]
        values = {key.strip(): value.strip() for key, _, value in pairs}
    if set(values) != set(names) or len(arguments) != len(names):
        raise ValueError(f"{name} takes {names[0]} and {names[1]}, such as {example}")
    return make(values[names[0]], values[names[1]])
