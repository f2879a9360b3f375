"""From samples to figures: medians, ranges, and ratios between what was measured at the same time."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.benchmark import Benchmark
from bench.sample import PERCENTILES, Sample
from bench.workloads import Workload


@dataclass(frozen=True)
class Figures:
    """One quantity over all rounds that succeeded.

    Attributes
    ----------
    median:
        The median of the rounds.
    low:
        The lowest value of the rounds.
    high:
        The highest value of the rounds.
    rounds:
        How many rounds there are.
    ratio:
        The ratio to the baseline: the median over the rounds; ``None`` if there is nothing to compare with.
    """

    median: float
    low: float
    high: float
    rounds: int
    ratio: float | None


@dataclass(frozen=True)
class Result:
    """What one server achieved in one workload.

    Attributes
    ----------
    server:
        Its name.
    figures:
        In the workload's unit; ``None`` if no round succeeded.
    cpu:
        The server's processor time in µs; ``None`` where that is not measured.
    reference_ratio:
        The ratio of the ranked figure to that of the same server in the workload's reference.
    latency:
        The median of each percentile, in seconds.
    generator_bound:
        The generator was the limit in at least half of the rounds: `figures` are lower bounds.
    problems:
        What went wrong, and how often.
    """

    server: str
    figures: Figures | None
    cpu: Figures | None
    reference_ratio: float | None
    latency: dict[float, float]
    generator_bound: bool
    problems: Counter[str]

    @property
    def ranked(self) -> Figures | None:
        """What decides the rank: the processor time where it is measured, since that needs no idle generator."""
        return self.cpu or self.figures

    def more_is_better(self, workload: Workload) -> bool:
        """Whether a higher ranked figure is better."""
        return self.cpu is None and workload.more_is_better


def summarise(benchmark: Benchmark, workload: Workload) -> list[Result]:
    """Return a workload's results, the best one first and those that failed last."""
    samples_of = benchmark.samples.get(workload.name, {})
    baseline = samples_of.get(benchmark.settings.baseline_of(workload), [])
    reference = benchmark.samples.get(workload.reference, {})
    results = [_result(name, samples, baseline, reference.get(name, [])) for name, samples in samples_of.items()]

    def rank(result: Result) -> tuple[bool, float]:
        median = result.ranked.median if result.ranked else 0.0
        return result.ranked is None, -median if result.more_is_better(workload) else median

    return sorted(results, key=rank)


def _result(name: str, samples: list[Sample], baseline: list[Sample], reference: list[Sample]) -> Result:
    good = _good(samples)
    quantity = _cpu if good and all(sample.cpu is not None for sample in good) else _value
    return Result(
        server=name,
        figures=_figures(samples, baseline, _value),
        cpu=_figures(samples, baseline, _cpu) if quantity is _cpu else None,
        reference_ratio=_ratio(samples, reference, quantity),
        latency={
            percentile: statistics.median(sample.latency[percentile] for sample in good)
            for percentile in PERCENTILES
            if good and all(percentile in sample.latency for sample in good)
        },
        generator_bound=bool(good) and 2 * sum(sample.generator_bound for sample in good) >= len(good),
        problems=Counter(sample.problem for sample in samples if sample.problem),
    )


def _figures(samples: list[Sample], baseline: list[Sample], quantity: Callable[[Sample], float]) -> Figures | None:
    values = [quantity(sample) for sample in _good(samples)]
    if not values:
        return None
    ratio = _ratio(samples, baseline, quantity)
    return Figures(statistics.median(values), min(values), max(values), len(values), ratio)


def _ratio(samples: list[Sample], baseline: list[Sample], quantity: Callable[[Sample], float]) -> float | None:
    """Return the median of the ratios of each round, since what disturbs a round is likely to affect both sides."""
    pairs = zip(samples, baseline, strict=False)  # after Ctrl-C, one side may be a round ahead
    ratios = [
        quantity(one) / quantity(other)
        for one, other in pairs
        if not one.problem and not other.problem and quantity(other)
    ]
    return statistics.median(ratios) if ratios else None


def _value(sample: Sample) -> float:
    return sample.value


def _cpu(sample: Sample) -> float:
    return sample.cpu or 0.0


def _good(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if not sample.problem]
