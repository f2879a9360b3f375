"""Scales and ticks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.svg import Scale, even_ticks, ratio_ticks


def test_a_scale_is_even_or_by_ratio_and_clips():
    even, ratio = Scale(0, 10, 100, 200), Scale(1, 100, 0, 200, logarithmic=True)
    assert [even(value) for value in (-5, 0, 5, 10, 50)] == [100, 100, 150, 200, 200]
    assert [ratio(value) for value in (0.5, 1, 10, 100)] == pytest.approx([0, 0, 100, 200])
    assert Scale(3, 3, 0, 10)(3) == 5


@given(high=st.floats(1e-6, 1e12), most=st.integers(3, 10))
def test_even_ticks_are_few_round_and_reach_nearly_to_the_end(high, most):
    ticks = even_ticks(high, most)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= most + 1
    assert high * 0.999999 - ticks[1] <= ticks[-1] <= high * 1.000001
    assert f"{ticks[1]:.3e}"[0] in "125"


def test_no_height_has_one_tick():
    assert even_ticks(0) == [0.0]


@given(low=st.floats(1e-9, 1e3), ratio=st.floats(2.5, 1e9))
def test_ratio_ticks_are_in_range_and_in_order(low, ratio):
    ticks = ratio_ticks(low, low * ratio)
    assert ticks == sorted(set(ticks))
    assert ticks
    assert low * 0.99 <= ticks[0] <= ticks[-1] <= low * ratio * 1.01
    assert len(ticks) <= 10
