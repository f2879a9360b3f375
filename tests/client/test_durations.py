"""Durations and deadlines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.durations import LONGEST, Deadline, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("1.5s", 1.5),
        ("0", 0),
        ("0s", 0),
        (" 2s ", 2),
        ("24h", 86400),
    ],
)
def test_each_unit(text, seconds):
    assert parse_duration(text) == seconds


@given(st.integers(0, int(LONGEST * 1000)))
def test_what_is_shown_can_be_typed(milliseconds):
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.text())
def test_anything_is_either_a_duration_or_refused_in_one_line(text):
    refusal = ""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1 if refusal else 0 <= seconds <= LONGEST


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not a duration"),
        ("5 s", "not a duration"),
        ("-5s", "not a duration"),
        ("inf", "not a duration"),
        ("1e3s", "not a duration"),
        ("5d", "not a duration"),
        ("٣s", "not a duration"),
        ("5", "no unit"),
        ("25h", "at most 24h"),
        ("999999999h", "at most 24h"),
    ],
)
def test_a_refusal_names_the_text_and_what_is_wrong(text, word):
    with pytest.raises(ValueError, match=word) as refusal:
        parse_duration(text)
    assert repr(text) in str(refusal.value)


def test_where_ping_takes_bare_seconds_so_do_we():
    assert parse_duration("0.2", bare_seconds=True) == 0.2
    assert parse_duration("200ms", bare_seconds=True) == 0.2


def test_a_deadline_passes_once_for_everybody(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    deadline = Deadline(5)
    assert deadline.remaining() == 5
    assert deadline.within(None) is deadline
    assert deadline.within(10) is deadline
    assert deadline.within(1).remaining() == 1
    now = 106.0
    assert deadline.remaining() == 0
    assert deadline.passed()


def test_without_a_limit_a_deadline_never_passes():
    never = Deadline(None)
    assert never.remaining() is None
    assert not never.passed()
    assert never.within(3600).remaining() is not None
