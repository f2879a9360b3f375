"""A distribution of times: a summary and a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echoclient.load.histogram import Histogram
from echoclient.load.recorder import middle_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PERCENTILES = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0)


@dataclass(frozen=True)
class Latency:
    """A distribution of times, in seconds.

    Attributes:
        mean: the mean.
        deviation: the standard deviation.
        least: the shortest time.
        percentiles: the times at the percentiles in `PERCENTILES`.
        histogram: all times.
    """

    mean: float
    deviation: float
    least: float
    percentiles: dict[float, float]
    histogram: Histogram

    @staticmethod
    def of(buckets: Mapping[int, int]) -> Latency | None:
        """Summarise a recorder's buckets; ``None`` if they are empty."""
        if not buckets:
            return None
        times = {bucket: middle_of(bucket) for bucket in buckets}
        count = sum(buckets.values())
        mean = sum(times[bucket] * number for bucket, number in buckets.items()) / count
        variance = sum((times[bucket] - mean) ** 2 * number for bucket, number in buckets.items()) / count
        return Latency.around(Histogram.of(buckets), mean, math.sqrt(variance))

    @staticmethod
    def around(histogram: Histogram, mean: float, deviation: float) -> Latency:
        """Summarise a histogram whose mean and deviation are known, in seconds."""
        return Latency(mean, deviation, histogram.least, histogram.percentiles(PERCENTILES), histogram)

    @staticmethod
    def from_json(values: dict[str, Any] | None) -> Latency | None:
        """Read what `to_json` wrote; ``None`` stays ``None``.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        if values is None:
            return None
        histogram = Histogram.decode(values["histogram_ns"])
        return Latency.around(histogram, float(values["mean_us"]) / 1e6, float(values["deviation_us"]) / 1e6)

    @property
    def count(self) -> int:
        """The number of times measured."""
        return self.histogram.count

    @property
    def most(self) -> float:
        """The longest time."""
        return self.percentiles[100.0]

    def to_json(self) -> dict[str, object]:
        """Return the summary in microseconds, and the encoded histogram in nanoseconds."""
        return {
            "count": self.count,
            "mean_us": _micro(self.mean),
            "deviation_us": _micro(self.deviation),
            "min_us": _micro(self.least),
            "max_us": _micro(self.most),
            "percentiles_us": {f"{percentile:g}": _micro(value) for percentile, value in self.percentiles.items()},
            "histogram_ns": self.histogram.encode(),
        }


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 3)
