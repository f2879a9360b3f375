"""The token bucket, on a clock that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.serving.rate import TokenBucket


def test_a_burst_may_be_received_at_once_and_then_one_at_a_time():
    bucket = TokenBucket(10, 3, of_bytes=False, now=100.0)
    for _ in range(3):
        assert bucket.wait(100.0) == 0
        bucket.spend(1, 100.0)
    assert bucket.wait(100.0) == pytest.approx(0.1)
    assert bucket.wait(100.05) == pytest.approx(0.05)
    assert bucket.wait(100.11) == 0
    bucket.spend(65536, 100.11)
    assert bucket.wait(100.11) == pytest.approx(0.09)


def test_a_long_silence_saves_up_no_more_than_the_burst():
    bucket = TokenBucket(10, 3, of_bytes=False, now=0.0)
    assert bucket.wait(0.0) == 0
    bucket.spend(1, 1e6)  # the receive waited that long
    for _ in range(2):
        assert bucket.wait(1e6) == 0
        bucket.spend(1, 1e6)
    assert bucket.wait(1e6) > 0


def test_a_limit_in_messages_does_not_count_their_bytes():
    bucket = TokenBucket(1, 1, of_bytes=False, now=0.0)
    assert bucket.most(65536) == 65536


def test_no_more_bytes_may_be_received_than_the_bucket_holds():
    bucket = TokenBucket(1000, 5000, of_bytes=True, now=0.0)
    assert bucket.most(65536) == 5000
    assert bucket.most(100) == 100
    bucket.spend(4000, 0.0)
    assert bucket.wait(0.0) == 0
    assert bucket.most(65536) == 1000


def test_the_wait_for_bytes_lasts_until_there_are_enough_for_a_receive():
    bucket = TokenBucket(100_000, 100_000, of_bytes=True, now=0.0)
    bucket.spend(100_000, 0.0)
    assert bucket.wait(0.0) == pytest.approx(0.01)
    assert bucket.wait(0.0099) > 0
    assert bucket.wait(0.011) == 0
    assert bucket.most(65536) == 1100


def test_a_burst_below_that_is_enough():
    bucket = TokenBucket(1_000_000, 10, of_bytes=True, now=0.0)
    assert bucket.wait(0.0) == 0
    assert bucket.most(65536) == 10


@given(
    rate=st.integers(1, 10**7),
    burst=st.integers(1, 10**7),
    of_bytes=st.booleans(),
    steps=st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 3), st.integers(1, 65536)),
        max_size=60,
    ),
)
def test_no_stretch_of_time_sees_more_than_burst_and_rate_allow(rate, burst, of_bytes, steps):
    now = 1000.0
    bucket = TokenBucket(rate, burst, of_bytes=of_bytes, now=now)
    moments = []
    for silence, receiving, count in steps:
        now += silence
        if bucket.wait(now):
            continue
        count = bucket.most(count)
        assert count >= 1
        now += receiving  # a blocking receive
        bucket.spend(count, now)
        moments.append((now, count if of_bytes else 1))
    for first, (start, _) in enumerate(moments):
        passed = 0
        for moment, cost in moments[first:]:
            passed += cost
            assert passed <= burst + rate * (moment - start) + 1e-6 * passed


@given(rate=st.integers(1, 10**7), burst=st.integers(1, 10**7), of_bytes=st.booleans(), start=st.floats(0, 1e7))
def test_after_the_wait_something_may_be_received_and_the_whole_rate_is_used(rate, burst, of_bytes, start):
    now = start
    bucket = TokenBucket(rate, burst, of_bytes=of_bytes, now=now)
    passed = 0
    for _ in range(50):
        for _ in range(3):  # rounding may ask for a second, short wait, but for no more
            wait = bucket.wait(now)
            if not wait:
                break
            assert 0.001 <= wait <= 1.0
            now += wait
        assert bucket.wait(now) == 0
        count = bucket.most(65536)
        bucket.spend(count, now)
        passed += count if of_bytes else 1
    # It never waits for more than a worthwhile receive, nor longer than timers allow.
    assert passed >= min(burst, 50) or now > start
