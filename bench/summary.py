"""From samples to figures: medians, spread, and ratios that compare what was measured at the same time."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass

from bench.campaign import Campaign
from bench.cells import Cell
from bench.measure import PERCENTILES, Sample


@dataclass(frozen=True)
class Entry:
    """One server's figures in one cell.

    Attributes:
        server: its name.
        value: the median over the rounds, in the cell's unit; ``None`` if no round gave one.
        low: the least of the rounds.
        high: the most.
        ratio: to the base, the median of each round's own ratio; ``None`` where the generator was the base's limit.
        beside: to the same server's figure in the cell that this one stands beside; ``None`` likewise.
        latency: the median of each percentile, in seconds.
        bound: the generator was the limit in half of the rounds or more; value and ratios are the least they may be.
        rounds: how many gave a value.
        problems: what went wrong, with how often.
    """

    server: str
    value: float | None
    low: float
    high: float
    ratio: float | None
    beside: float | None
    latency: dict[float, float]
    bound: bool
    rounds: int
    problems: Counter[str]


def summarise(campaign: Campaign, cell: Cell) -> list[Entry]:
    """Return a cell's entries: the ranked ones from the best on, then those that can't be ranked."""
    measured = campaign.samples.get(cell.name, {})
    base = measured.get(campaign.settings.base_of(cell), [])
    beside = campaign.samples.get(cell.beside, {})
    entries = [_entry(name, samples, base, beside.get(name, [])) for name, samples in measured.items()]

    def order(entry: Entry) -> tuple[bool, bool, float]:
        value = entry.value or 0.0
        return entry.value is None, entry.bound, -value if cell.more_is_better else value

    return sorted(entries, key=order)


def _entry(name: str, samples: list[Sample], base: list[Sample], beside: list[Sample]) -> Entry:
    good = [sample for sample in samples if not sample.problem]
    values = [sample.value for sample in good]
    return Entry(
        server=name,
        value=statistics.median(values) if values else None,
        low=min(values, default=0.0),
        high=max(values, default=0.0),
        ratio=_ratio(samples, base),
        beside=_ratio(samples, beside),
        latency={
            percentile: statistics.median(sample.latency[percentile] for sample in good)
            for percentile in PERCENTILES
            if good and all(percentile in sample.latency for sample in good)
        },
        bound=_bound(samples),
        rounds=len(good),
        problems=Counter(sample.problem for sample in samples if sample.problem),
    )


def _ratio(samples: list[Sample], base: list[Sample]) -> float | None:
    """Return the median of the ratios of each round: a round's disturbance is likely to have met both."""
    if _bound(base):
        return None
    pairs = zip(samples, base, strict=False)  # after Ctrl-C one of them may be a round ahead
    ratios = [one.value / other.value for one, other in pairs if not one.problem and not other.problem and other.value]
    return statistics.median(ratios) if ratios else None


def _bound(samples: list[Sample]) -> bool:
    good = [sample for sample in samples if not sample.problem]
    return bool(good) and 2 * sum(sample.bound for sample in good) >= len(good)
