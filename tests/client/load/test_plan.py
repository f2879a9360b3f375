"""What a plan refuses, and how it is divided."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.plan import Plan, PlanError, parse_sizes
from echoclient.target import Target


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"connections": 0}, "connections 0: must be from 1"),
        ({"smallest": 0}, "size 0: must be from 1"),
        ({"largest": 1 << 31}, "size 2147483648"),
        ({"smallest": 9, "largest": 8}, "size 9-8: write the smaller number first"),
        ({"pipeline": 0}, "pipeline 0"),
        ({"processes": 0}, "processes 0"),
        ({"processes": 17}, "17 processes for 16 connections"),
        ({"messages": 15}, "15 messages over 16 connections"),
        ({"messages": 0}, "messages 0"),
        ({"messages": 100, "duration": 1.0}, "give only one of them"),
        ({"duration": 0.0}, "duration 0 s"),
        ({"duration": float("inf")}, "duration inf"),
        ({"duration": float("nan")}, "duration nan"),
        ({"rate": 0.0}, "rate 0"),
        ({"rate": -1.0}, "rate -1"),
        ({"rate": float("nan")}, "rate nan"),
        ({"rate": 5.0, "churn": True}, "leave out the rate"),
        ({"pipeline": 2, "churn": True}, "leave out the pipeline"),
        ({"sources": ("127.0.0.2", "localhost")}, "source 'localhost': must be an IP address"),
        ({"sources": ("224.0.0.1",)}, "source '224.0.0.1': must be"),
        ({"sources": ("::",)}, "source '::': must be"),
        ({"sources": (1,)}, "source 1: must be"),
        ({"sources": ("fe80::1%\x1b[31m",)}, "source 'fe80::1%\\x1b[31m': must be"),
        ({"warmup": -1.0}, "warmup -1 s"),
        ({"timeout": float("nan")}, "timeout nan s"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused_in_one_line(parameters, words):
    with pytest.raises(PlanError) as refused:
        Plan(**parameters)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_an_end_a_plan_takes_ten_seconds():
    assert Plan().duration == 10
    assert Plan(messages=16).duration is None


@pytest.mark.parametrize(
    ("parameters", "mode"), [({}, "closed"), ({"rate": 1.0}, "open"), ({"churn": True}, "churn")], ids=str
)
def test_the_mode(parameters, mode):
    assert Plan(**parameters).mode == mode


@given(connections=st.integers(1, 300), extra=st.integers(0, 500), data=st.data())
def test_the_shares_are_the_whole(connections, extra, data):
    processes = data.draw(st.integers(1, min(connections, 256)))
    plan = Plan(connections=connections, messages=connections + extra, processes=processes)
    shares = [plan.share(index) for index in range(processes)]
    numbers = [share.first + index for share in shares for index in range(share.connections)]
    assert numbers == list(range(connections))
    assert sum(share.messages or 0 for share in shares) == connections + extra
    assert max(share.connections for share in shares) - min(share.connections for share in shares) <= 1


def test_json_of_before_there_were_sources_is_read():
    values = Plan().to_json()
    del values["sources"]
    assert Plan.from_json(values) == Plan()


def test_a_plan_survives_json():
    plan = Plan(target=Target("::1", 7), smallest=1, largest=9, rate=2.5, expect="upper", sources=("::1",), seed=-4)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    "values", [{}, {"target": "9000", "color": "red"}, {"target": "9000", "connections": 0}], ids=str
)
def test_json_that_is_not_a_plan_is_refused(values):
    with pytest.raises(PlanError):
        Plan.from_json(values)


@pytest.mark.parametrize(("text", "sizes"), [("64", (64, 64)), ("1-4096", (1, 4096))])
def test_sizes(text, sizes):
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "-", "64-", "-64", "6 4", "64k", "1-2-3", "٣", "9" * 30, "0x10"])
def test_what_is_not_a_size(text):
    with pytest.raises(PlanError, match="is not a size: write bytes such as 64"):
        parse_sizes(text)
