"""A result as a terminal shows it."""

from __future__ import annotations

import click
import pytest

from client.load.results import broken, measured
from echoclient.load.plan import Plan
from echoclient.load.result import Result
from echoclient.load.table import plan_line, summary
from echoclient.load.units import count_text, megabytes_text, time_text


def test_the_table_names_errors_and_tells_the_first_of_them():
    text = click.unstyle(summary(broken()))
    assert "5 CORRUPT, 5 without a reply" in text
    assert "CORRUPT on connection 3, reply byte 1,000,003, at 1.250 s: expected byte 0x41, got 0x42" in text
    assert text.count("CORRUPT on connection") == 3


def test_the_table_of_an_open_loop_shows_both_latencies():
    text = summary(measured(Plan(rate=100.0)))
    assert "from planned" in text
    assert "from sent" in text
    assert "p99.99" in text


def test_the_table_of_nothing():
    result = Result(Plan(), "", {}, failures=["load process 0 was ended by SIGKILL before it had a result"])
    text = click.unstyle(summary(result))
    assert "no message was answered" in text
    assert "FAILED: load process 0 was ended by SIGKILL" in text


def test_the_plan_in_a_line():
    plan = Plan(
        rate=2000.0, smallest=1, largest=9, pipeline=3, processes=2, sources=("::1",), expect="upper", verify=False
    )
    line = plan_line(plan)
    for words in (
        "16 x 1-9 B",
        "3 in flight",
        "open loop at 2,000 msg/s",
        "from ::1",
        "10s",
        "2 processes",
        "upper",
        "not verified",
    ):
        assert words in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ns"),
        (8.12e-7, "812 ns"),
        (8.12e-4, "812 us"),
        (9.999e-4, "1.00 ms"),
        (0.00123, "1.23 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (75.0, "75.0 s"),
        (86400.0, "86,400 s"),
    ],
)
def test_times(seconds, text):
    assert time_text(seconds) == text


def test_counts():
    assert (count_text(71234.4), count_text(9.876), count_text(3), count_text(0)) == ("71,234", "9.88", "3", "0")
    assert count_text(0.001) == "0.001"
    assert megabytes_text(986.4) == "986 MB/s"
