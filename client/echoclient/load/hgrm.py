"""HdrHistogram's percentile text, which its plotters read, and which many load generators write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoclient.load.latency import Latency

_MILLISECONDS = 1e3


def percentile_text(latency: Latency) -> str:
    """Return the text, in milliseconds, as HdrHistogram's ``outputPercentileDistribution`` lays it out."""
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    for seconds, share, count in latency.histogram.curve():
        line = f"{seconds * _MILLISECONDS:12.3f} {share:14.12f} {count:10d}"
        lines.append(f"{line} {1 / (1 - share):14.2f}" if share < 1 else line)
    mean, deviation = latency.mean * _MILLISECONDS, latency.deviation * _MILLISECONDS
    buckets, sub_buckets = latency.histogram.shape
    lines += [
        f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]",
        f"#[Max     = {latency.most * _MILLISECONDS:12.3f}, TotalCount     = {latency.count:12d}]",
        f"#[Buckets = {buckets:12d}, SubBuckets     = {sub_buckets:12d}]",
    ]
    return "\n".join(lines) + "\n"
