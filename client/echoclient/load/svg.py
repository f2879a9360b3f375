"""Charts as SVG: scales, axes, lines and cells. The page sets their colours by class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDTH, HEIGHT = 880, 320
LEFT, RIGHT, TOP, BOTTOM = 68, 18, 14, 46

Tick = tuple[float, str]
Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Maps values to positions on the chart, linearly or logarithmically.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: a position, in the chart's units.
        end: likewise.
        logarithmic: equal ratios have equal distances; ``low`` must then be above 0.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value, clamped to the scale."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def across(low: float, high: float, *, logarithmic: bool = False) -> Scale:
    """Return a scale from the left to the right of the chart."""
    return Scale(low, high, LEFT, WIDTH - RIGHT, logarithmic)


def upwards(low: float, high: float, *, logarithmic: bool = False) -> Scale:
    """Return a scale from the bottom to the top of the chart."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP, logarithmic)


def even_ticks(high: float, most: int = 6) -> list[float]:
    """Return at most ``most`` + 1 round values from 0 to ``high``."""
    if high <= 0:
        return [0.0]
    step = next(step for step in _round_values(high / most) if high / step <= most)
    return [index * step for index in range(int(high / step + 1e-9) + 1)]


def ratio_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between two values, or only the powers if those are too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= most:
            break
    return ticks


def _round_values(least: float) -> Iterable[float]:
    decade = 10.0 ** math.floor(math.log10(least))
    while True:
        yield from (digit * decade for digit in (1, 2, 5))
        decade *= 10


class Chart:
    """One chart: first the axes, then what is drawn over them."""

    def __init__(self, title: str, x: Scale, y: Scale) -> None:
        """Begin a chart.

        Args:
            title: the text for readers who can't see the chart.
            x: see `across`.
            y: see `upwards`.
        """
        self.x, self.y = x, y
        self._parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        ]

    def axes(self, x_ticks: Iterable[Tick], y_ticks: Iterable[Tick], x_label: str, y_label: str) -> None:
        """Draw grid lines with their values, and the names of both axes."""
        floor = HEIGHT - BOTTOM
        for value, text in y_ticks:
            y = self.y(value)
            self._parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            self._parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
        for value, text in x_ticks:
            x = self.x(value)
            self._parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{floor}"/>')
            self._parts.append(f'<text x="{x:.1f}" y="{floor + 17}" text-anchor="middle">{escape(text)}</text>')
        self._parts.append(f'<path class="axis" d="M{LEFT} {floor}H{WIDTH - RIGHT}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        self._parts.append(
            f'<text class="name" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        )
        height = (TOP + floor) / 2
        self._parts.append(
            f'<text class="name" x="13" y="{height:.0f}" text-anchor="middle" '
            f'transform="rotate(-90 13 {height:.0f})">{escape(y_label)}</text>'
        )

    def line(self, points: Sequence[Point], style: str) -> None:
        """Draw a line through points, which are pairs of values."""
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        if path:
            self._parts.append(f'<path class="{style}" d="M{path}"/>')

    def steps(self, heights: Sequence[float], width: float, style: str) -> None:
        """Draw a step for each value; each is ``width`` wide on the x axis, and the first begins at 0."""
        points: list[Point] = []
        for index, height in enumerate(heights):
            points += [(index * width, height), ((index + 1) * width, height)]
        self.line(points, style)

    def dot(self, x: float, y: float, style: str, text: str) -> None:
        """Draw a dot that shows ``text`` under the pointer."""
        place = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}"'
        self._parts.append(f'<circle class="{style}" {place} r="3.5"><title>{escape(text)}</title></circle>')

    def cells(self, boxes: Iterable[tuple[float, float, float, float]], style: str) -> None:
        """Fill boxes, each given by four values: left, right, bottom, top."""
        path = []
        for left, right, bottom, top in boxes:
            x, y, far = self.x(left), self.y(top), self.x(right)
            path.append(f"M{x:.1f} {y:.1f}H{far:.1f}V{self.y(bottom):.1f}H{x:.1f}z")
        if path:
            self._parts.append(f'<path class="{style}" d="{"".join(path)}"/>')

    def text(self) -> str:
        """Return the chart as an SVG element."""
        return "\n".join([*self._parts, "</svg>"])


def labelled(values: Iterable[float], write: Callable[[float], str]) -> list[Tick]:
    """Return the values as ticks, each with its text."""
    return [(value, write(value)) for value in values]
