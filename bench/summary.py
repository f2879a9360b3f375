"""From samples to figures: medians, ranges, and ratios between what was measured at the same time."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass

from bench.benchmark import Benchmark
from bench.measure import PERCENTILES, Sample
from bench.workloads import Workload


@dataclass(frozen=True)
class Figures:
    """The values of all rounds that succeeded, in the workload's unit.

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
    """

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Result:
    """What one server achieved in one workload.

    Attributes
    ----------
    server:
        Its name.
    figures:
        The figures; ``None`` if no round succeeded.
    ratio:
        The ratio to the baseline: the median over the rounds; ``None`` if the baseline was generator-bound.
    reference_ratio:
        The ratio to the same server's figure in the workload's reference, computed likewise.
    latency:
        The median of each percentile, in seconds.
    generator_bound:
        The generator was the limit in at least half of the rounds: all figures are lower bounds.
    problems:
        What went wrong, and how often.
    """

    server: str
    figures: Figures | None
    ratio: float | None
    reference_ratio: float | None
    latency: dict[float, float]
    generator_bound: bool
    problems: Counter[str]


def summarise(benchmark: Benchmark, workload: Workload) -> list[Result]:
    """Return a workload's results: first the ranked ones, best first, then those that can't be ranked."""
    samples_of = benchmark.samples.get(workload.name, {})
    baseline = samples_of.get(benchmark.settings.baseline_of(workload), [])
    reference = benchmark.samples.get(workload.reference, {})
    results = [_result(name, samples, baseline, reference.get(name, [])) for name, samples in samples_of.items()]

    def rank(result: Result) -> tuple[bool, bool, float]:
        median = result.figures.median if result.figures else 0.0
        return result.figures is None, result.generator_bound, -median if workload.more_is_better else median

    return sorted(results, key=rank)


def _result(name: str, samples: list[Sample], baseline: list[Sample], reference: list[Sample]) -> Result:
    good = _good(samples)
    values = [sample.value for sample in good]
    return Result(
        server=name,
        figures=Figures(statistics.median(values), min(values), max(values), len(values)) if values else None,
        ratio=_ratio(samples, baseline),
        reference_ratio=_ratio(samples, reference),
        latency={
            percentile: statistics.median(sample.latency[percentile] for sample in good)
            for percentile in PERCENTILES
            if good and all(percentile in sample.latency for sample in good)
        },
        generator_bound=_generator_bound(samples),
        problems=Counter(sample.problem for sample in samples if sample.problem),
    )


def _ratio(samples: list[Sample], baseline: list[Sample]) -> float | None:
    """Return the median of the ratios of each round, since what disturbs a round is likely to affect both sides."""
    if _generator_bound(baseline):
        return None
    pairs = zip(samples, baseline, strict=False)  # after Ctrl-C, one side may be a round ahead
    ratios = [one.value / other.value for one, other in pairs if not one.problem and not other.problem and other.value]
    return statistics.median(ratios) if ratios else None


def _generator_bound(samples: list[Sample]) -> bool:
    good = _good(samples)
    return bool(good) and 2 * sum(sample.generator_bound for sample in good) >= len(good)


def _good(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if not sample.problem]
