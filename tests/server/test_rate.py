"""The token bucket and the pauses, with a clock that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.serving.rate import Pauses, TokenBucket

# -- the bucket


def test_a_burst_goes_at_once_and_then_one_at_a_time():
    bucket = TokenBucket(10, 3, of_bytes=False, now=100.0)
    for _ in range(3):
        assert bucket.wait(100.0) == 0
        bucket.spend(1, 100.0)
    assert bucket.wait(100.0) == pytest.approx(0.1)
    assert bucket.wait(100.05) == pytest.approx(0.05)
    assert bucket.wait(100.11) == 0
    bucket.spend(65536, 100.11)
    assert bucket.wait(100.11) == pytest.approx(0.09)


def test_a_long_silence_saves_no_more_than_the_burst():
    bucket = TokenBucket(10, 3, of_bytes=False, now=0.0)
    assert bucket.wait(0.0) == 0
    bucket.spend(1, 1e6)  # the receive took its time
    for _ in range(2):
        assert bucket.wait(1e6) == 0
        bucket.spend(1, 1e6)
    assert bucket.wait(1e6) > 0


def test_messages_are_counted_and_not_what_is_in_them():
    bucket = TokenBucket(1, 1, of_bytes=False, now=0.0)
    assert bucket.most(65536) == 65536


def test_no_more_bytes_may_be_received_than_the_bucket_holds():
    bucket = TokenBucket(1000, 5000, of_bytes=True, now=0.0)
    assert bucket.most(65536) == 5000
    assert bucket.most(100) == 100
    bucket.spend(4000, 0.0)
    assert bucket.wait(0.0) == 0
    assert bucket.most(65536) == 1000


def test_bytes_are_waited_for_until_it_is_worth_a_receive():
    bucket = TokenBucket(100_000, 100_000, of_bytes=True, now=0.0)
    bucket.spend(100_000, 0.0)
    assert bucket.wait(0.0) == pytest.approx(0.01)
    assert bucket.wait(0.0099) > 0
    assert bucket.wait(0.011) == 0
    assert bucket.most(65536) == 1100


def test_a_burst_smaller_than_what_is_worth_a_receive_is_enough():
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
def test_never_more_than_burst_and_rate_allow_in_any_stretch_of_time(rate, burst, of_bytes, steps):
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
def test_who_waits_as_long_as_told_may_receive_and_gets_the_whole_rate(rate, burst, of_bytes, start):
    now = start
    bucket = TokenBucket(rate, burst, of_bytes=of_bytes, now=now)
    passed = 0
    for _ in range(50):
        for _ in range(3):  # rounding of the clock may ask for another moment, and no more than that
            wait = bucket.wait(now)
            if not wait:
                break
            assert 0.001 <= wait <= 1.0
            now += wait
        assert bucket.wait(now) == 0
        count = bucket.most(65536)
        bucket.spend(count, now)
        passed += count if of_bytes else 1
    # It never waits for more than is worth a receive, or longer than timers can.
    assert passed >= min(burst, 50) or now > start


# -- pauses


def test_who_pauses_is_due_in_the_order_of_the_moments():
    pauses: Pauses[str] = Pauses()
    assert pauses.timeout(0.0) == -1
    for who, until in [("b", 2.0), ("c", 3.0), ("a", 1.0), ("a2", 1.0)]:
        pauses.add(who, until)
    assert pauses.timeout(0.5) == 0.5
    assert pauses.timeout(5.0) == 0.0
    assert pauses.take_due(0.999) == []
    assert pauses.take_due(2.0) == ["a", "a2", "b"]
    assert "a" not in pauses
    assert "c" in pauses
    assert pauses.take_due(2.0) == []
    assert pauses.take_due(9.0) == ["c"]
    assert pauses.timeout(9.0) == -1


def test_who_was_hurried_is_not_due_again():
    pauses: Pauses[str] = Pauses()
    pauses.add("a", 1.0)
    pauses.discard("a")
    pauses.discard("stranger")
    assert pauses.take_due(1.0) == []
    pauses.add("a", 2.0)
    pauses.discard("a")
    pauses.add("a", 3.0)
    assert pauses.take_due(2.5) == []
    assert pauses.take_due(3.0) == ["a"]


def test_all_are_taken_at_the_end():
    pauses: Pauses[str] = Pauses()
    pauses.add("a", 1.0)
    pauses.add("b", 2.0)
    pauses.discard("a")
    assert pauses.take_all() == ["b"]
    assert pauses.take_due(9.0) == []
