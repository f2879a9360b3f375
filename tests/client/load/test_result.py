"""A result: what it says of itself, as JSON, as a table, as a page."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from html.parser import HTMLParser

import click
import pytest

from echoclient.load.faults import Fault, FaultLog
from echoclient.load.latency import Latency
from echoclient.load.page import page
from echoclient.load.plan import Plan
from echoclient.load.progress import Progress, percentile
from echoclient.load.recorder import Recorder
from echoclient.load.result import Process, Result, ResultError, spread
from echoclient.load.table import plan_line, summary
from echoclient.load.units import count_text, megabytes_text, time_text


def measured(plan: Plan | None = None, seconds: int = 3) -> Result:
    plan = plan or Plan(messages=300)
    recorder = Recorder(0.0, planned=plan.rate is not None)
    for tick in range(10 * seconds):
        recorder.record(10, 64, 0.0, 0.002, 0.004 + tick / 1000)
        if plan.churn:
            recorder.connect.fresh.append(0.0001)
        recorder.tick((tick + 1) / 10 + 1e-6)
    timeline = recorder.finish(float(seconds))
    return Result(
        plan,
        "2026-01-02T03:04:05+00:00",
        {"python": "CPython 3.13"},
        elapsed=float(seconds),
        answered=recorder.answered,
        payload=recorder.payload,
        latency=Latency.of(recorder.latency.buckets),
        service=Latency.of(recorder.service.buckets),
        connect=Latency.of(recorder.connect.buckets),
        timeline=timeline,
        processes=[Process(0.5, 0.01)],
    )


def broken() -> Result:
    result = measured()
    for _ in range(5):
        result.faults.add(Fault("CORRUPT", 3, 1_000_003, 1.25, "expected byte 0x41, got 0x42"))
    result.lost = 5
    return result


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
def test_whatever_did_not_happen_as_asked_makes_a_result_not_ok(change):
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
def test_what_is_no_result_is_refused_in_one_line(text):
    with pytest.raises(ResultError) as refused:
        Result.from_json(text)
    assert "\n" not in str(refused.value)


def test_a_result_that_was_tampered_with_is_refused():
    values = json.loads(measured().to_json())
    for name in ("plan", "timeline", "latency", "errors", "throughput"):
        with pytest.raises(ResultError):
            Result.from_json(json.dumps({**values, name: {"x": 1}}))


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
    assert "nothing was answered" in text
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


def test_the_spread_of_seconds():
    assert spread([100, 200, 300]) == {"min": 100, "median": 200, "max": 300, "deviation": 0.408248}


def test_live_percentiles():
    cells = Recorder(0.0, planned=False)
    cells.record(99, 1, 0.0, 0.0, 0.001)
    cells.record(1, 1, 0.0, 0.0, 1.0)
    cells.tick(0.2)
    live = cells.live()
    assert percentile(live, 0.5) == pytest.approx(0.001, rel=0.07)
    assert percentile(live, 1.0) == pytest.approx(1.0, rel=0.07)
    assert percentile(Counter(), 0.5) is None


def test_progress_adds_up_what_all_processes_say(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress(Plan(processes=2, warmup=1.0, messages=400))
    now[0] = 101.5
    snapshot = progress.snapshot()
    assert snapshot is not None
    assert snapshot.phase == "connecting"
    progress.next_phase()
    now[0] = 102.9
    snapshot = progress.snapshot()
    assert snapshot is not None
    assert (snapshot.phase, snapshot.left) == ("warming up", 0)
    progress.next_phase()
    now[0] = 103.4
    progress.add(0, {"cells": [[65000, 60]], "faults": 2})
    assert progress.snapshot() is None  # the other has not spoken
    progress.add(1, {"cells": [[65000, 40]], "faults": 1})
    snapshot = progress.snapshot()
    assert snapshot is not None
    assert (snapshot.phase, snapshot.errors) == ("measuring", 3)
    assert snapshot.rate == pytest.approx(200)
    assert snapshot.left == pytest.approx(1.5)


class Reader(HTMLParser):
    """Checks that tags are balanced, and gathers what the page would load and says."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


@pytest.mark.parametrize(
    "results",
    [
        [("one", measured())],
        [("one", measured(Plan(rate=100.0)))],
        [("one", broken())],
        [("empty", Result(Plan(), "", {}, failures=["it was killed"]))],
        [(f"run {index}", measured(Plan(churn=True), seconds=index + 1)) for index in range(10)],
        [("one", measured()), ("nothing", Result(Plan(rate=3.0), "", {}))],
    ],
    ids=lambda results: f"{len(results)}-{results[0][0]}",
)
def test_a_page_needs_nothing_else_and_is_whole(results):
    text = page(results)
    reader = Reader(text)
    assert reader.open == []
    assert not reader.links
    assert not re.search(r"https?://|@import|url\(", text)
    assert reader.tags["svg"] == 2 + len(results)
    assert not re.search(r"\bnan\b|\binf\b", re.sub("<style>.*</style>", "", text, flags=re.DOTALL))
    said = " ".join(reader.said)
    for words in ("Latency by percentile", "Latency over time", "Throughput over time", "Parameters", "seed"):
        assert words in said


def test_a_page_says_what_went_wrong():
    said = " ".join(Reader(page([("one", broken())])).said)
    assert "Not everything asked for happened: 5 CORRUPT, 5 without a reply" in said
    assert "reply byte 1,000,003" in said


def test_names_on_a_page_are_text():
    evil = '<script>alert(1)</script>&".json'
    text = page([(evil, measured()), ("b", measured())])
    assert "<script" not in text
    assert evil in " ".join(Reader(text).said)


def test_a_comparison_gives_ratios_to_the_first():
    slower = dataclasses.replace(measured(), elapsed=6.0)
    said = Reader(page([("a", measured()), ("b", slower)])).said
    assert "\N{MULTIPLICATION SIGN}0.50" in said
