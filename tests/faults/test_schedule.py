"""What one connection meets: which effects a reply has, where, and in which order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.faults.effects import Close, Cut, Delay, HalfClose, Refuse, Reset, Stall, Throttle
from faults.rule_kit import effects, plan_of, rules


def test_without_a_rule_for_it_a_connection_has_no_schedule():
    plan = plan_of("reset@#3", "delay=5ms@#6")
    assert [number for number in range(1, 13) if plan.schedule(number)] == [3, 6, 9, 12]
    assert [bound.index for bound in plan.schedule(6).rules] == [0, 1]
    assert plan_of().schedule(1) is None


@pytest.mark.parametrize(
    ("rule", "first", "fifth"),
    [
        ("delay=50ms", ["delay 50 ms before reply 1"], ["delay 50 ms before reply 5"]),
        ("delay=1500ms@msg 5", [], ["delay 1.5 s before reply 5"]),
        ("delay=50ms@byte 450", [], ["delay 50 ms before byte 450"]),
        ("throttle=64kB/s", ["throttle to 64000 bytes/s from byte 0"], ["throttle to 64000 bytes/s from byte 400"]),
        ("throttle=64kB/s@byte 450", [], ["throttle to 64000 bytes/s from byte 450"]),
        (
            "throttle=64kB/s@byte 50",
            ["throttle to 64000 bytes/s from byte 50"],
            ["throttle to 64000 bytes/s from byte 400"],
        ),
        ("slice=1..9", ["slice from byte 0"], ["slice from byte 400"]),
        ("stall", ["stall for ever before reply 1"], []),
        ("stall=5s@byte 450", [], ["stall 5 s after 450 bytes"]),
        ("reset", ["reset in place of reply 1"], []),
        ("reset@byte 0", ["reset after 0 bytes"], []),
        ("reset@byte 100", ["reset after 100 bytes"], []),
        ("close@byte 450", [], ["close after 450 bytes"]),
        ("halfclose@msg 5", [], ["halfclose in place of reply 5"]),
        ("corrupt@byte 0", ["corrupt at byte 0"], []),
        ("corrupt@byte 499", [], ["corrupt at byte 499"]),
        ("corrupt@byte 500", [], []),
        ("drop", ["drop reply 1"], ["drop reply 5"]),
        ("duplicate@msg 5", [], ["duplicate reply 5"]),
        ("reset@after 2s", [], []),
    ],
)
def test_where_a_rule_takes_effect(rule, first, fifth):
    # Five replies of 100 bytes each.
    assert effects(plan_of(rule)) == first
    assert effects(plan_of(rule), index=4, offset=400) == fifth


def test_a_cut_after_so_many_bytes_does_not_wait_for_the_next_reply():
    plan = plan_of("reset@byte 500")
    assert effects(plan, index=4, offset=400) == ["reset after 500 bytes"]
    assert effects(plan, index=5, offset=500) == []


def test_one_byte_of_a_reply_is_corrupted_somewhere_in_it():
    places = {
        effect.at
        for connection in range(1, 200)
        for effect in plan_of("corrupt@msg 2").schedule(connection).reply(1, 1000, 10, 0)
    }
    assert places == set(range(1000, 1010))


def test_a_byte_is_corrupted_in_the_same_way_whichever_reply_it_is_in():
    schedule = plan_of("corrupt@byte 70").schedule(1)
    assert schedule.reply(0, 0, 100, 0) == schedule.reply(7, 70, 1, 0)


def test_a_condition_on_the_age_is_about_the_beginning_of_the_reply():
    plan = plan_of("delay=5ms@1s..5s")
    assert [len(effects(plan, age=age)) for age in (0.0, 0.999, 1.0, 4.999, 5.0, 60.0)] == [0, 0, 1, 1, 0, 0]


def test_all_parts_of_a_trigger_must_hold():
    plan = plan_of("drop@#2,msg 3,after 1s")
    assert plan.schedule(1) is None
    assert effects(plan, connection=2, index=2, age=1.0) == ["drop reply 3"]
    assert effects(plan, connection=2, index=2, age=0.5) == []
    assert effects(plan, connection=2, index=1, age=1.0) == []


# -- several rules


def test_effects_come_in_the_order_of_places_and_then_of_rules():
    plan = plan_of("corrupt@byte 80", "delay=5ms@byte 20", "delay=1ms", "slice=5", "close@byte 90")
    assert effects(plan) == [
        "delay 1 ms before reply 1",
        "slice from byte 0",
        "delay 5 ms before byte 20",
        "corrupt at byte 80",
        "close after 90 bytes",
    ]


def test_nothing_follows_an_ending():
    assert effects(plan_of("delay=1ms", "close", "reset@#1")) == [
        "delay 1 ms before reply 1",
        "close in place of reply 1",
    ]
    assert effects(plan_of("corrupt@byte 80", "reset@byte 50", "delay=5ms@byte 60")) == ["reset after 50 bytes"]
    assert effects(plan_of("reset@byte 50", "stall=5s@byte 20")) == ["stall 5 s after 20 bytes", "reset after 50 bytes"]
    assert effects(plan_of("reset@byte 50", "stall@byte 20")) == ["stall for ever after 20 bytes"]


def test_the_slowest_rate_counts():
    plan = plan_of("throttle=64kB/s", "throttle=1kB/s@byte 50", "throttle=5kB/s@byte 70", "throttle=99kB/s@msg 1")
    assert effects(plan) == ["throttle to 64000 bytes/s from byte 0", "throttle to 1000 bytes/s from byte 50"]


def test_a_dropped_reply_has_no_bytes_for_other_effects():
    plan = plan_of("drop@msg 2", "delay=5ms", "duplicate", "corrupt@byte 150", "close@byte 150")
    assert effects(plan, index=1, offset=100) == ["drop reply 2"]
    assert effects(plan, index=2, offset=100) == [
        "delay 5 ms before reply 3",
        "duplicate reply 3",
        "corrupt at byte 150",
        "close after 150 bytes",
    ]


def test_the_bytes_of_a_copy_count():
    plan = plan_of("duplicate@msg 1", "corrupt@byte 150", "reset@byte 200")
    assert effects(plan) == ["duplicate reply 1", "corrupt at byte 150", "reset after 200 bytes"]


def test_effects_name_their_rule_and_kind():
    schedule = plan_of("delay=1ms", "throttle=1kB/s", "reset@byte 50").schedule(1)
    assert schedule.refused is None
    assert [(effect.rule, effect.kind, type(effect)) for effect in schedule.reply(0, 0, 100, 0)] == [
        (0, "delay", Delay),
        (1, "throttle", Throttle),
        (2, "reset", Reset),
    ]


def test_a_refused_connection():
    schedule = plan_of("delay=1ms", "refuse@#2").schedule(2)
    assert schedule.refused == Refuse(1)
    assert str(schedule.refused) == "refuse at accept"
    assert plan_of("delay=1ms", "refuse@#2").schedule(1).refused is None


# -- what happens by itself


def test_cuts_at_an_age_happen_by_themselves():
    schedule = plan_of("stall=500ms@after 1s", "halfclose@after 2s", "close@after 0").schedule(1)
    assert schedule.reply(0, 0, 100, 10.0) == ()
    assert [schedule.next_time(age) for age in (-1.0, 0.0, 1.0, 2.0)] == [0.0, 1.0, 2.0, math.inf]
    assert schedule.due(-1.0, 0.0) == (Close(2, None, None, 0.0),)
    assert schedule.due(0.0, 0.9) == ()
    assert schedule.due(0.5, 9.9) == (Stall(0, None, None, 1.0, 0.5), HalfClose(1, None, None, 2.0))
    assert [str(cut) for cut in schedule.due(0.5, 9.9)] == ["stall 500 ms at 1 s", "halfclose at 2 s"]


def test_a_stall_over_a_span_lasts_as_long():
    schedule = plan_of("stall@1s..5s").schedule(1)
    assert schedule.due(0, 1) == (Stall(0, None, None, 1.0, 4.0),)
    assert plan_of("stall@after 1s").schedule(1).due(0, 1) == (Stall(0, None, None, 1.0, math.inf),)


def test_the_moment_of_another_cut_is_drawn_from_its_span():
    plan = plan_of("reset@1s..5s")
    moments = [plan.schedule(number).next_time(-1.0) for number in range(1, 500)]
    assert 1.0 <= min(moments) < 1.1
    assert 4.9 < max(moments) < 5.0
    assert len(set(moments)) > 490


def test_with_a_place_a_span_is_a_condition():
    schedule = plan_of("reset@msg 1,1s..5s").schedule(1)
    assert schedule.next_time(-1.0) == math.inf
    assert schedule.reply(0, 0, 100, 0.0) == ()
    assert schedule.reply(0, 0, 100, 1.0) == (Reset(0, None, 1, None),)


@given(
    rule=rules,
    lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=20),
    seed=st.integers(0, 100),
)
def test_effects_lie_in_their_reply_and_nothing_follows_an_ending(rule, lengths, seed):
    schedule = plan_of(str(rule), seed=seed).schedule(1)
    if schedule is None:
        return
    offset = 0
    for index, length in enumerate(lengths):
        found = schedule.reply(index, offset, length, 0.1 * index)
        for effect in found:
            at = getattr(effect, "at", None)
            assert at is None or offset <= at <= offset + 2 * length
            assert str(effect).startswith(effect.kind)
            assert effect.rule == 0
        assert not any(isinstance(effect, Cut) for effect in found[:-1])
        offset += length


def test_a_generation_changes_nothing_that_is_drawn():
    first = plan_of("reset@10%")
    second = type(first)(first.rules, first.seed, generation=7)
    assert (first.generation, second.generation) == (1, 7)
    assert [bool(first.schedule(n)) for n in range(1, 200)] == [bool(second.schedule(n)) for n in range(1, 200)]
