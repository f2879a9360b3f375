"""Durations, deadlines and throttles."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver import clock
from echoserver.clock import Deadline, Throttle, format_duration, parse_duration

HOURS_1000 = 3_600_000.0


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch):
    made = Clock()
    monkeypatch.setattr(clock, "monotonic", made)
    return made


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("500ms", 0.5),
        ("30s", 30),
        ("1.5s", 1.5),
        ("5m", 300),
        ("1h", 3600),
        ("1.5h", 5400),
        ("0.25ms", 0.00025),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "30", "s", "1d", "1S", ".5s", "1.s", "1,5s", "1e3s", "0x1s", "1m30s", "infs", "nans"),
        *("-1s", "+1s", "1 s", " 1s", "1s ", "1s\n"),
        *("٣s", "1" * 10 + "s"),
    ],
)
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_duration(text)


@given(st.text())
def test_no_text_makes_parsing_fail_in_another_way(text):
    try:
        assert parse_duration(text) >= 0
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.001, "1ms"),
        (0.0015, "1.5ms"),
        (0.5, "500ms"),
        (1, "1s"),
        (1.25, "1.25s"),
        (90, "90s"),
        (60, "1m"),
        (600, "10m"),
        (3600, "1h"),
        (86400, "24h"),
        (HOURS_1000, "1000h"),
    ],
)
def test_durations_are_shown_as_people_write_them(seconds, text):
    assert format_duration(seconds) == text


@given(st.floats(0.001, HOURS_1000))
def test_what_is_shown_reads_back_as_the_same_to_the_microsecond(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6, rel=1e-12)


def test_a_deadline_expires_and_stays_expired(time):
    deadline = Deadline(5)
    assert deadline.remaining() == 5
    assert not deadline.expired
    time.now += 4
    assert deadline.remaining() == deadline.timeout() == 1
    time.now += 1
    assert deadline.expired
    time.now += 1
    assert deadline.remaining() == deadline.timeout() == 0


def test_a_deadline_of_zero_seconds_never_expires(time):
    deadline = Deadline(0)
    time.now += 1e9
    assert not deadline.expired
    assert deadline.remaining() == math.inf
    assert deadline.timeout() is None


@pytest.mark.parametrize("seconds", [0, 5])
def test_a_deadline_can_be_brought_forward(time, seconds):
    deadline = Deadline(seconds)
    deadline.expire()
    assert deadline.expired
    assert deadline.remaining() == deadline.timeout() == 0


def test_a_throttle_lets_one_through_in_an_interval(time):
    throttle = Throttle(1)
    assert [throttle.ready(), throttle.ready()] == [True, False]
    time.now += 0.999
    assert not throttle.ready()
    time.now += 0.001
    assert [throttle.ready(), throttle.ready()] == [True, False]
    time.now += 10
    assert [throttle.ready(), throttle.ready()] == [True, False]
