"""A result: what it says of itself, and as JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from client.load.results import broken, measured
from echoclient.load.faults import FaultLog
from echoclient.load.plan import Plan
from echoclient.load.result import Process, Result, ResultError, spread
from echoclient.load.table import summary


def test_rates():
    result = measured()
    assert result.rate == pytest.approx(100)
    assert result.megabytes == pytest.approx(0.0064)
    assert result.each_second == [100, 100, 100]
    assert result.ok


@pytest.mark.parametrize(
    "change",
    [
        {"lost": 1},
        {"unsent": 1},
        {"failures": ["x"]},
        {"interrupted": True},
        {"answered": 0},
        {"faults": FaultLog.from_json({"counts": {"RESET": 1}, "examples": []})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_anything_not_done_as_asked_makes_a_result_not_ok(change):
    assert not dataclasses.replace(measured(), **change).ok


@pytest.mark.parametrize(
    ("processes", "bound"),
    [
        ([(0.5, 0.0)], False),
        ([(0.89, 0.0)], False),
        ([(0.9, 0.0)], True),
        ([(0.3, 0.7)], True),
        ([(0.2, 0), (1, 0)], True),
    ],
)
def test_the_generator_is_bound_when_one_of_its_processes_has_no_time_to_spare(processes, bound):
    result = dataclasses.replace(measured(), processes=[Process(*shares) for shares in processes])
    assert result.generator_bound is bound
    assert json.loads(result.to_json())["generator_bound"] is bound
    assert ("WARNING" in summary(result)) is bound
    assert not dataclasses.replace(result, elapsed=0.05).generator_bound


@pytest.mark.parametrize(
    "plan",
    [Plan(messages=300), Plan(rate=100.0), Plan(churn=True, smallest=1, largest=9)],
    ids=lambda plan: plan.mode,
)
def test_a_result_survives_json(plan):
    result = measured(plan)
    again = Result.from_json(result.to_json())
    assert again.to_json() == result.to_json()
    assert again.plan == plan
    assert again.timeline == result.timeline
    assert again.latency is not None
    assert result.latency is not None
    assert again.latency.percentiles == result.latency.percentiles


def test_the_json_says_what_scripts_want_to_know():
    values = json.loads(broken().to_json())
    assert values["ok"] is False
    assert values["mode"] == "closed"
    assert values["throughput"]["messages_per_s"] == 100
    assert values["throughput"]["whole_seconds"] == {"min": 100, "median": 100, "max": 100, "deviation": 0.0}
    assert list(values["latency"]["percentiles_us"]) == ["50", "75", "90", "99", "99.9", "99.99", "100"]
    assert values["latency"]["percentiles_us"]["50"] == pytest.approx(18_500, rel=0.03)
    assert values["errors"]["counts"] == {"CORRUPT": 5}
    assert values["errors"]["examples"][0]["offset"] == 1_000_003
    assert values["messages"] == {"answered": 300, "lost": 5, "unsent": 0}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "null", "{}", '{"format": "other/1"}', '{"format": "echoclient-bench/1"}', "\x00"],
)
def test_a_text_that_is_not_a_result_is_refused_in_one_line(text):
    with pytest.raises(ResultError) as refused:
        Result.from_json(text)
    assert "\n" not in str(refused.value)


def test_a_result_that_was_tampered_with_is_refused():
    values = json.loads(measured().to_json())
    for name in ("plan", "timeline", "latency", "errors", "throughput"):
        with pytest.raises(ResultError):
            Result.from_json(json.dumps({**values, name: {"x": 1}}))


def test_the_spread_of_seconds():
    assert spread([100, 200, 300]) == {"min": 100, "median": 200, "max": 300, "deviation": 0.408248}
