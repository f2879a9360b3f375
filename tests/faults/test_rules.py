"""The grammar of rules: what is read, how it is shown, and what is refused with which line."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.faults.conflicts import check_together
from echoserver.faults.kinds import KINDS
from echoserver.faults.quantities import Share
from echoserver.faults.rules import Rule, parse_rule
from echoserver.faults.triggers import Byte, Every, Message, MessageShare, Span, Trigger
from faults.rule_kit import plan_of, rules, texts


def refusal_of(text: str) -> str:
    """Return the line that refuses a text; empty if it is a rule."""
    try:
        parse_rule(text)
    except ValueError as error:
        return str(error)
    return ""


@given(rule=rules)
def test_a_rule_reads_its_own_text(rule):
    assert parse_rule(str(rule)) == rule
    assert str(parse_rule(str(rule))) == str(rule)


@given(text=st.text() | texts.flatmap(lambda text: st.text().map(lambda more: text + more)))
def test_any_text_is_read_or_refused_on_one_line(text):
    refusal = refusal_of(text)
    assert refusal.isprintable()
    assert len(refusal) < 500


@given(
    text=st.text(alphabet="0123456789%.,:=@#/() msbytekMiB" + "delaycorruptslice"),
    kind=st.sampled_from(sorted(KINDS)),
    mark=st.sampled_from("=@"),
)
def test_any_parameters_and_triggers_are_read_or_refused(kind, mark, text):
    refusal = refusal_of(kind + mark + text)
    assert refusal.isprintable()
    if not refusal:
        rule = parse_rule(kind + mark + text)
        assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_kind_is_a_rule_of_the_kind(kind):
    rule = parse_rule(KINDS[kind].example)
    assert rule.kind == kind
    assert str(rule) == KINDS[kind].example


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("reset", Trigger()),
        ("reset@10%", Trigger(connections=Share(10**7))),
        ("reset@0.000001%", Trigger(connections=Share(1))),
        ("reset@100%", Trigger(connections=Share(10**8))),
        ("reset@#100", Trigger(connections=Every(100))),
        ("reset@1%/msg", Trigger(place=MessageShare(Share(10**6)))),
        ("reset@msg 5", Trigger(place=Message(5))),
        ("reset@byte 1000003", Trigger(place=Byte(1000003))),
        ("reset@byte 0", Trigger(place=Byte(0))),
        ("reset@1s..5s", Trigger(span=Span(1.0, 5.0))),
        ("reset@0..500ms", Trigger(span=Span(0.0, 0.5))),
        ("reset@after 2s", Trigger(span=Span(2.0, math.inf))),
        ("reset@10%,msg 5,after 2s", Trigger(Share(10**7), Message(5), Span(2.0, math.inf))),
    ],
)
def test_a_trigger(text, trigger):
    assert parse_rule(text) == Rule("reset", None, trigger)
    assert str(parse_rule(text)) == text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (" reset @ msg 5 , 10% ", "reset@10%,msg 5"),
        ("delay=0.05s", "delay=50ms"),
        ("delay=60s", "delay=1m"),
        ("delay=50ms:10%, 200ms:2.50", "delay=50ms:10,200ms:2.5"),
        ("delay=normal( mean=50ms, deviation=10ms )", "delay=normal(50ms,10ms)"),
        ("delay=pareto(shape=1.50,least=10ms)", "delay=pareto(10ms,1.5)"),
        ("throttle=64000B/s", "throttle=64kB/s"),
        ("slice=100", "slice=100"),
        ("slice=100..100,0", "slice=100"),
        ("slice=100B..64000,5ms", "slice=100..64kB,5ms"),
        ("corrupt@byte 64kB", "corrupt@byte 64kB"),
        ("corrupt=0.10%", "corrupt=0.1%"),
    ],
)
def test_a_rule_has_one_text_however_it_is_written(written, shown):
    assert str(parse_rule(written)) == shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dealy=50ms", "there is no kind of fault 'dealy'; did you mean 'delay'?"),
        ("Reset", "there is no kind of fault 'Reset'; did you mean 'reset'?"),
        (
            "",
            "there is no kind of fault ''; there are delay, throttle, slice, stall, reset, close, halfclose, corrupt, ",
        ),
        ("delay", "delay needs parameters, such as delay=50ms:10,200ms:2"),
        ("delay=50", "'50' must be a duration such as 500ms, 30s, 5m or 1h, at most 1000h"),
        ("delay=0", "'0' must be a duration such as 500ms, 30s, 5m or 1h, at most 1000h, and more than 0"),
        ("delay=1001h", "'1001h' must be a duration such as 500ms, 30s, 5m or 1h, at most 1000h"),
        ("delay=50ms:60,1s:41", "the weights are 101% together; they must be at most 100%"),
        ("delay=50ms:0", "'50ms:0' must be a duration and its percent, such as 50ms:10"),
        ("delay=50ms,10ms", "'50ms,10ms' must be one of 50ms, 50ms:10,200ms:2 (in percent), normal(50ms,10ms), "),
        ("delay=norml(1s,1s)", "there is no distribution 'norml'; did you mean 'normal'?"),
        ("delay=normal(1s)", "normal takes mean and deviation, such as normal(50ms,10ms)"),
        ("delay=normal(mean=1s,width=1s)", "normal takes mean and deviation, such as normal(50ms,10ms)"),
        ("delay=uniform(90ms,10ms)", "90ms is above 10ms; write uniform(10ms,90ms)"),
        ("delay=pareto(10ms,0)", "the shape '0' must be a number above 0 and below 1000, such as 1.5"),
        ("throttle=100/s", "'100/s' must be bytes per second, such as 64kB/s or 1MiB/s, at most 10^12"),
        ("throttle=64kB", "'64kB' must be bytes per second, such as 64kB/s or 1MiB/s, at most 10^12"),
        ("slice=200..100", "'200' is above '100'; write 100..200"),
        ("slice=0..5", "a piece of 0 bytes is none; the smallest is 1"),
        ("slice=100..200,", "'' must be a duration such as 500ms, 30s, 5m or 1h, at most 1000h"),
        ("reset=5", "reset takes no parameters; a place or a share is a trigger, such as reset@10%"),
        ("corrupt", "corrupt needs a place or a share, such as corrupt@byte 1000, corrupt@msg 5, corrupt@1%/msg "),
        (
            "corrupt@10%",
            "corrupt needs a place or a share, such as corrupt@byte 1000, corrupt@msg 5, corrupt@1%/msg ",
        ),
        ("corrupt=5", "'5' must be a share such as 10% or 0.5%, above 0 and at most 100%"),
        ("refuse@byte 5", "refuse happens at accept, so it can't wait for byte 5; only 10% or #100 can follow it"),
        ("refuse@1%/msg", "refuse happens at accept, so it can't wait for 1%/msg; only 10% or #100 can follow it"),
        ("refuse@after 2s", "refuse happens at accept, so it can't wait for after 2s; only 10% or #100 can follow it"),
        ("drop@byte 5", "drop is for whole replies, not for byte 5; name one, such as msg 5, or 1%/msg"),
        (
            "reset@",
            "a trigger must follow @, such as 10%, #100, 1%/msg, msg 5, byte 1000, 1s..5s or after 2s, joined by ",
        ),
        ("reset@5", "there is no trigger '5'; a trigger is 10%, #100, 1%/msg, msg 5, byte 1000, 1s..5s or after 2s, "),
        ("reset@101%", "'101%' must be a share such as 10% or 0.5%, above 0 and at most 100%"),
        ("reset@0%/msg", "'0%' must be a share such as 10% or 0.5%, above 0 and at most 100%"),
        ("reset@#0", "'0' must be every nth connection, such as #100, at most 10^12"),
        ("reset@msg 0", "'0' must be the number of a reply, from 1, such as msg 5, at most 10^12"),
        ("reset@byte -1", "'-1' must be a number of bytes such as 1000, 64kB or 1MiB, at most 10^12"),
        ("reset@byte", "byte must be followed by a number of bytes such as 1000, 64kB or 1MiB, at most 10^12"),
        ("reset@5s..1s", "the span '5s..1s' ends before it begins; write '1s..5s'"),
        ("reset@2s..2s", "the span '2s..2s' is empty; write 'after 2s'"),
        ("reset@10%,#4", "10% and #4 can't be combined; give one of them"),
        ("reset@msg 5,byte 5", "msg 5 and byte 5 can't be combined; give one of them"),
        ("stall=2s@1s..5s", "the span 1s..5s says how long the stall is; leave out =2s, or write after ..."),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(text, problem):
    assert refusal_of(text).startswith(f"{text!r}: {problem}")


@pytest.mark.parametrize(
    ("together", "problem"),
    [
        (["throttle=1kB/s", "throttle=2kB/s"], "'throttle=1kB/s' and 'throttle=2kB/s' are both for every connection; "),
        (
            ["slice=1", "slice=2"],
            "'slice=1' and 'slice=2' are both for every connection; keep one, or give one a trigger",
        ),
        (["drop@5%", "delay=1s", "drop@5%"], "'drop@5%' is given twice; give it once, with another share or value"),
        (["reset", "close"], "'reset' and 'close' both come in place of the first reply of every connection; keep one"),
        (["delay=1s", "refuse"], "'delay=1s' never happens, since 'refuse' refuses every connection; write refuse@10%"),
        (["reset@msg 2", "stall"], "'reset@msg 2' never happens, since 'stall' ends every connection before; write "),
        (["close", "corrupt@byte 5"], "'corrupt@byte 5' never happens, since 'close' ends every connection before; "),
    ],
)
def test_rules_that_make_no_sense_together_are_refused_by_name(together, problem):
    with pytest.raises(ValueError, match="^" + re.escape(problem)):
        plan_of(*together)


@pytest.mark.parametrize(
    "together",
    [
        ["throttle=1kB/s", "throttle=2kB/s@10%"],
        ["reset", "delay=1s"],
        ["reset@10%", "close@10%", "stall"],
        ["reset@msg 5", "corrupt@byte 100", "stall=5s"],
        ["refuse@10%", "refuse@#5", "drop"],
    ],
)
def test_rules_that_add_up_are_allowed(together):
    assert [str(rule) for rule in plan_of(*together).rules] == together


def test_at_most_a_hundred_rules():
    many = [parse_rule(f"drop@msg {number}") for number in range(1, 102)]
    check_together(many[:100])
    with pytest.raises(ValueError, match=r"^there are 101 rules; at most 100 are allowed$"):
        check_together(many)
