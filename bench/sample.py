"""The outcome of one measurement."""

from __future__ import annotations

from dataclasses import dataclass, field

PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True)
class Sample:
    """The outcome of one measurement.

    Attributes
    ----------
    value:
        The figure, in the workload's unit.
    cpu:
        The server's processor time in µs for each message or connection; ``None`` where that isn't measured.
    latency:
        Seconds by percentile, for those in `PERCENTILES`; empty where latency isn't measured.
    generator_bound:
        The load generator had no time to spare, and the server had: it may be capable of more.
    problem:
        Why there is no value, in one line.
    """

    value: float = 0.0
    cpu: float | None = None
    latency: dict[float, float] = field(default_factory=dict)
    generator_bound: bool = False
    problem: str = ""
