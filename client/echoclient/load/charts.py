"""The charts of a result: latency by percentile, latency over time, and throughput over time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoclient.load.recorder import edge_of
from echoclient.load.svg import Chart, across, even_ticks, labelled, ratio_ticks, upwards
from echoclient.load.table import series
from echoclient.load.units import count_text, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoclient.load.latency import Latency
    from echoclient.load.result import Result

# Colours of the results on one page; with more results, they repeat.
COLOURS = 8
# How the curves of the distributions differ from that of the latency.
_STROKES = {"from sent": " dashed", "connect": " dashed", "handshake": " dotted"}
# Shades of a heat map's colour.
_SHADES = 8
# A heat map's cell is four of a timeline's cells, so that four make a doubling.
_MERGED = 2
_LEAST = 1e-7  # seconds; keeps the logarithm of 0 finite


def percentile_chart(results: Sequence[Result]) -> str:
    """Draw latency against the percentile, both on logarithmic scales, so that rare slow messages stay visible."""
    curves = [
        (index % COLOURS, _STROKES.get(name, ""), latency)
        for index, result in enumerate(results)
        for name, latency in series(result)
    ]
    rarest = max((latency.count for _, _, latency in curves), default=10)
    slowest = max((latency.most for _, _, latency in curves), default=1.0)
    fastest = min((max(latency.least, _LEAST) for _, _, latency in curves), default=slowest / 10)
    chart = Chart(
        "Latency by percentile",
        across(1, max(rarest, 10), logarithmic=True),
        upwards(fastest / 1.1, slowest * 1.1, logarithmic=True),
    )
    nines = range(math.floor(math.log10(max(rarest, 10))) + 1)
    shares = [(10.0**nine, _percent(nine)) for nine in nines] + [(2.0, "50 %")]
    chart.axes(shares, _time_ticks(chart), "percentile", "latency")
    for colour, stroke, latency in curves:
        style = f"line c{colour}{stroke}"
        points = [(_rarity(share, latency), max(seconds, _LEAST)) for seconds, share, _ in latency.histogram.curve()]
        chart.line(points, style)
        for percentile, seconds in latency.percentiles.items():
            rarity = _rarity(percentile / 100, latency)
            if rarity <= latency.count:
                name = "max" if percentile == 100 else f"p{percentile:g}"
                chart.dot(rarity, seconds, f"dot c{colour}", f"{name}: {time_text(seconds)}")
    return chart.text()


@dataclass(frozen=True)
class HeatScales:
    """The axes that the heat maps of one page share, so that they can be compared.

    Attributes:
        seconds: the length of the longest run.
        cells: the lowest and the highest cell in use.
    """

    seconds: float
    cells: tuple[int, int]

    @staticmethod
    def of(results: Sequence[Result]) -> HeatScales:
        """Return axes that fit all results."""
        used = {
            cell >> _MERGED for result in results for interval in result.timeline.intervals for cell in interval
        } or {0}
        return HeatScales(max(_length(result) for result in results), (min(used), max(used)))


def heat_map(result: Result, scales: HeatScales, colour: int = 0) -> str:
    """Draw how many messages had which latency at what time: a stronger colour is more messages, logarithmically."""
    timeline = result.timeline
    columns: list[Counter[int]] = []
    for interval in timeline.intervals:
        column: Counter[int] = Counter()
        for cell, count in interval.items():
            column[cell >> _MERGED] += count
        columns.append(column)
    low, high = scales.cells
    chart = Chart(
        "Latency over time",
        across(0, scales.seconds),
        upwards(_edge(low), _edge(high + 1), logarithmic=True),
    )
    chart.axes(labelled(even_ticks(scales.seconds), _seconds), _time_ticks(chart), "time", "latency")
    most = max((count for column in columns for count in column.values()), default=1)
    boxes: dict[int, list[tuple[float, float, float, float]]] = {}
    for index, column in enumerate(columns):
        left, right = index * timeline.width, min((index + 1) * timeline.width, _length(result))
        for cell, count in sorted(column.items()):
            boxes.setdefault(_shade(count, most), []).append((left, right, _edge(cell), _edge(cell + 1)))
    for shade, found in sorted(boxes.items()):
        chart.cells(found, f"heat c{colour % COLOURS} s{shade}")
    return chart.text()


def throughput_chart(results: Sequence[Result]) -> str:
    """Draw messages per second over time."""
    heights = [_rates(result) for result in results]
    length = max(_length(result) for result in results)
    high = max((rate for rates in heights for rate in rates), default=0.0) * 1.05 or 1.0
    chart = Chart("Throughput over time", across(0, length), upwards(0, high))
    chart.axes(
        labelled(even_ticks(length), _seconds),
        labelled(even_ticks(high, 5), count_text),
        "time",
        "connections per second" if all(result.plan.churn for result in results) else "messages per second",
    )
    for index, (result, rates) in enumerate(zip(results, heights, strict=True)):
        chart.steps(rates, result.timeline.width, f"line c{index % COLOURS}")
    return chart.text()


def _rates(result: Result) -> list[float]:
    """Return messages per second in each interval. The last is shorter than the others, or left out."""
    timeline = result.timeline
    rates = []
    for index, interval in enumerate(timeline.intervals):
        width = min(timeline.width, result.elapsed - index * timeline.width)
        if width > timeline.width / 10:  # a shorter one means nothing
            rates.append(interval.total() / width)
    return rates


def _edge(cell: int) -> float:
    return max(edge_of(cell << _MERGED), _LEAST)


def _length(result: Result) -> float:
    return max(result.elapsed, result.timeline.width)


def _shade(count: int, most: int) -> int:
    share = math.log(count + 1) / math.log(most + 1)
    return min(int(share * _SHADES), _SHADES - 1)


def _rarity(share: float, latency: Latency) -> float:
    """Return 1 / (1 - share); for the maximum, the number of values."""
    return min(1 / (1 - share), latency.count) if share < 1 else float(latency.count)


def _percent(nines: int) -> str:
    return "0" if not nines else f"{100 - 10.0 ** (2 - nines):.{max(nines - 2, 0)}f} %"


def _time_ticks(chart: Chart) -> list[tuple[float, str]]:
    return labelled(ratio_ticks(chart.y.low, chart.y.high), _round_time)


def _round_time(seconds: float) -> str:
    number, unit = time_text(seconds).split()
    return f"{float(number):g} {unit.replace('us', 'µs')}"


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s"
