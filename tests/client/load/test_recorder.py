"""Latencies become buckets, buckets a histogram, and intervals a timeline."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.hgrm import percentile_text
from echoclient.load.latency import Latency
from echoclient.load.recorder import COARSE, MOST_INTERVALS, Recorder, Series, Timeline, edge_of, middle_of

TIMES = st.floats(1e-9, 80_000, allow_nan=False)


def buckets(*times: float) -> Counter[int]:
    series = Series()
    series.fresh += times
    series.fold()
    return series.buckets


@given(seconds=TIMES)
def test_a_bucket_is_a_thousandth_wide(seconds):
    (bucket,) = buckets(seconds)
    assert middle_of(bucket) == pytest.approx(seconds, rel=0.0006)
    assert edge_of(bucket >> COARSE) <= seconds < edge_of((bucket >> COARSE) + 1)


@given(times=st.lists(TIMES, min_size=1, max_size=50))
def test_buckets_keep_the_order_and_the_number_of_times(times):
    ordered = [next(iter(buckets(time))) for time in sorted(times)]
    assert ordered == sorted(ordered)
    assert buckets(*times).total() == len(times)


def test_zero_seconds_have_a_bucket_too():
    (bucket,) = buckets(0.0)
    assert middle_of(bucket) < 1e-12


@given(times=st.lists(st.floats(1e-6, 1000), min_size=1, max_size=200))
def test_a_histogram_says_what_sorting_says(times):
    latency = Latency.of(buckets(*times))
    assert latency is not None
    times.sort()
    assert latency.count == len(times)
    assert latency.least == pytest.approx(times[0], rel=0.002)
    assert latency.most == pytest.approx(times[-1], rel=0.002)
    assert latency.mean == pytest.approx(math.fsum(times) / len(times), rel=0.002)
    for percentile, value in latency.percentiles.items():
        # HdrHistogram's rule: the smallest value that percentile * count values, to the nearest, do not exceed.
        rank = max(int(percentile * len(times) / 100 + 0.5), 1)
        assert value == pytest.approx(times[rank - 1], rel=0.002)


def test_without_measurements_there_is_no_latency():
    assert Latency.of(Counter()) is None


def test_the_percentile_text_is_in_milliseconds_and_adds_up():
    latency = Latency.of(buckets(*[0.001] * 90, *[0.010] * 9, 0.5))
    assert latency is not None
    lines = percentile_text(latency).splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines[2:-3]]
    values, shares, counts = ([float(row[column]) for row in rows] for column in (0, 1, 2))
    assert values == sorted(values)
    assert values[0] == pytest.approx(1, rel=0.002)
    assert values[-1] == pytest.approx(500, rel=0.002)
    assert counts[-1] == 100
    assert shares[-1] == 1
    assert len(rows[-1]) == 3  # 1 / (1 - 1) is left out
    assert all(float(row[3]) == pytest.approx(1 / (1 - float(row[1])), abs=0.01) for row in rows[:-1])
    numbers = [
        float(part) for line in lines[-3:-1] for part in line.strip("#[]").replace(",", "").split() if "." in part
    ]
    assert numbers[:3] == pytest.approx([6.8, 49.6, 500], rel=0.01)


def filled(ticks: int, *, width: float = 0.1) -> Recorder:
    recorder = Recorder(100.0, planned=False)
    for tick in range(ticks):
        recorder.record(1, 64, 0.0, 0.0, 0.001)
        recorder.tick(100.0 + (tick + 1) * width + 1e-6)
    return recorder


def test_each_interval_holds_what_happened_in_it():
    recorder = filled(25)
    recorder.record(7, 64, 0.0, 0.0, 0.001)
    timeline = recorder.finish(102.55)
    assert recorder.last == 102.55
    assert [interval.total() for interval in timeline.intervals] == [1] * 25 + [7]
    assert timeline.seconds == [10, 10, 12]
    assert recorder.answered == 32
    assert recorder.payload == 32 * 64


def test_a_long_silence_is_empty_intervals():
    recorder = filled(1)
    recorder.tick(102.05)
    assert recorder.last == pytest.approx(100.1)
    assert [interval.total() for interval in recorder.finish(102.06).intervals] == [1] + [0] * 20


def test_a_long_run_has_wider_intervals_and_loses_nothing():
    ticks = 5 * MOST_INTERVALS + 3
    timeline = filled(ticks).finish(1e6)
    assert len(timeline.intervals) <= MOST_INTERVALS + 1
    assert timeline.width == pytest.approx(0.8)
    assert sum(interval.total() for interval in timeline.intervals) == ticks
    assert sum(timeline.seconds) == ticks


def test_timelines_of_two_processes_add_up_even_if_one_is_wider():
    narrow, wide = filled(MOST_INTERVALS - 5).finish(1e6), filled(MOST_INTERVALS + 5).finish(1e6)
    assert narrow.width < wide.width
    total = sum(interval.total() for timeline in (narrow, wide) for interval in timeline.intervals)
    narrow.merge(wide)
    assert sum(interval.total() for interval in narrow.intervals) == total
    assert sum(narrow.seconds) == total
    assert narrow.width == wide.width


def test_widening_keeps_an_odd_last_interval():
    timeline = Timeline(0.1, [Counter({1: 1}), Counter({1: 2}), Counter({2: 4})])
    timeline.widen()
    assert timeline.intervals == [Counter({1: 3}), Counter({2: 4})]


def test_live_cells_are_returned_once():
    recorder = filled(3)
    assert recorder.live().total() == 3
    assert recorder.live().total() == 0
