"""What is drawn: the same for the same seed, whatever asks and in which order, and with the distribution promised."""

from __future__ import annotations

import threading
from itertools import islice, pairwise
from math import exp, log, sqrt
from statistics import NormalDist, mean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.faults.draws import Draws, Purpose
from echoserver.faults.effects import CorruptShare, Slice
from faults.rule_kit import effects, met, plan_of, rules

MANY = 10_000


def outcome(plan, connection: int, index: int) -> object:
    """Return everything that a schedule says about one reply."""
    schedule = plan.schedule(connection)
    if schedule is None:
        return None
    found = schedule.reply(index, 100 * index, 100, index / 2)
    inside = [
        list(effect.within(0, 100 * (index + 1)))[:5]
        if isinstance(effect, CorruptShare)
        else list(islice(effect.sizes(), 3))
        if isinstance(effect, Slice)
        else None
        for effect in found
    ]
    return [str(effect) for effect in found], inside, schedule.next_time(0.0), schedule.ticket


def test_the_numbers_are_the_same_on_every_machine_and_version():
    # Changing these breaks every ticket and every seed that somebody has written down.
    draws = Draws(42, "reset@10%")
    assert draws.word(1, Purpose.CONNECTION) == 4724089133889691296
    assert list(islice(draws.words(7, Purpose.SIZES, 3), 9))[-1] == 4068918202540700235
    assert effects(plan_of("delay=normal(50ms,10ms)", seed=42)) == ["delay 58.793 ms before reply 1"]
    assert effects(plan_of("delay=pareto(10ms,1.5)", seed=42)) == ["delay 33 ms before reply 1"]
    assert effects(plan_of("delay=uniform(10ms,90ms)", seed=42)) == ["delay 51.001 ms before reply 1"]
    assert plan_of("reset@1s..5s", seed=42).schedule(1).next_time(-1.0) == 3.828116
    (effect,) = plan_of("corrupt=0.1%", seed=42).schedule(1).reply(0, 0, 5000, 0)
    assert [(corrupt.at, corrupt.mask) for corrupt in effect.within(0, 5000)] == [(890, 38), (3006, 62)]


@given(rule=rules, seed=st.integers(0, 2**63 - 1), connections=st.permutations(range(1, 6)))
def test_a_schedule_is_a_pure_function(rule, seed, connections):
    asked = [(connection, index) for connection in connections for index in (3, 0, 2)]
    first = {key: outcome(plan_of(str(rule), seed=seed), *key) for key in asked}
    plan = plan_of(str(rule), seed=seed)
    assert {key: outcome(plan, *key) for key in reversed(asked)} == first


def test_threads_that_ask_at_once_get_the_same_answers():
    plan = plan_of(
        "delay=normal(50ms,10ms)@60%", "corrupt=5%@1%/msg", "slice=1..9@#2", "reset@1s..5s", "drop@50%,3%/msg"
    )
    keys = [(connection, index) for connection in range(1, 60) for index in range(5)]
    expected = [outcome(plan, *key) for key in keys]
    together = threading.Barrier(4)
    answers: list[list[object]] = []

    def ask() -> None:
        together.wait()
        answers.append([outcome(plan, *key) for key in keys])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 4


def test_a_rule_draws_the_same_whatever_rules_are_around_it():
    alone = met(plan_of("reset@10%"), range(1, 500))
    plan = plan_of("delay=5ms@20%", "close@10%", "reset@10%")
    among = [n for n in range(1, 500) if (s := plan.schedule(n)) and any(b.rule.kind == "reset" for b in s.rules)]
    assert among == alone


def test_two_rules_with_the_same_share_pick_different_connections():
    first, second = (set(met(plan_of(text), range(1, 2000))) for text in ("reset@50%", "close@50%"))
    assert 400 < len(first & second) < 600


def test_another_seed_picks_other_connections():
    assert met(plan_of("reset@10%", seed=1), range(1, 1000)) != met(plan_of("reset@10%", seed=2), range(1, 1000))


# -- shares


def interval(count: int, share: float) -> tuple[float, float]:
    """Return between which numbers 99.9 % of the draws from a binomial distribution lie."""
    width = NormalDist().inv_cdf(0.9995) * sqrt(count * share * (1 - share))
    return count * share - width, count * share + width


def test_the_share_of_connections_is_that_of_the_rule_with_every_seed():
    low, high = interval(MANY, 0.1)
    counts = [len(met(plan_of("reset@10%", seed=seed), range(1, MANY + 1))) for seed in range(1, 41)]
    assert all(low < count < high for count in counts), counts
    assert stdev(counts) == pytest.approx(sqrt(MANY * 0.1 * 0.9), rel=0.4)


@pytest.mark.parametrize("percent", ["0.5", "50", "99.9"])
def test_the_share_of_messages_is_that_of_the_rule(percent):
    schedule = plan_of(f"drop@{percent}%/msg").schedule(1)
    low, high = interval(MANY, float(percent) / 100)
    assert low < sum(bool(schedule.reply(index, 0, 1, 0)) for index in range(MANY)) < high


@pytest.mark.parametrize("percent", ["0.01", "1", "40", "60", "99.9"])
def test_the_share_of_bytes_is_that_of_the_rule(percent):
    (effect,) = plan_of(f"corrupt={percent}%").schedule(1).reply(0, 0, 200_000, 0)
    found = list(effect.within(0, 200_000))
    low, high = interval(200_000, float(percent) / 100)
    assert low < len(found) < high
    offsets = [corrupt.at for corrupt in found]
    assert offsets == sorted(set(offsets))
    assert {corrupt.mask for corrupt in found} <= set(range(1, 256))
    assert mean(offsets) == pytest.approx(100_000, abs=4 * 200_000 / sqrt(12 * len(found)))


def test_a_hundred_percent_is_all():
    assert met(plan_of("reset@100%"), range(1, 100)) == list(range(1, 100))
    (effect,) = plan_of("corrupt=100%").schedule(1).reply(0, 0, 3000, 0)
    assert [corrupt.at for corrupt in effect.within(10, 3000)] == list(range(10, 3000))


@given(cuts=st.lists(st.integers(0, 5000), max_size=6).map(sorted))
def test_the_same_bytes_are_corrupted_however_the_stream_is_divided(cuts):
    (effect,) = plan_of("corrupt=2%").schedule(1).reply(0, 0, 5000, 0)
    bounds = [0, *cuts, 5000]
    divided = [corrupt for start, stop in pairwise(bounds) for corrupt in effect.within(start, stop)]
    assert divided == list(effect.within(0, 5000))


# -- delays


def delays(parameters: str) -> list[float]:
    schedule = plan_of(f"delay={parameters}").schedule(1)
    return [sum(effect.seconds for effect in schedule.reply(index, index, 1, 0)) for index in range(4000)]


def test_weighted_delays_have_their_percent():
    found = delays("50ms:10,200ms:2")
    assert set(found) == {0.0, 0.05, 0.2}
    assert interval(4000, 0.1)[0] < found.count(0.05) < interval(4000, 0.1)[1]
    assert interval(4000, 0.02)[0] < found.count(0.2) < interval(4000, 0.02)[1]


def test_uniform_delays():
    found = delays("uniform(10ms,90ms)")
    assert 0.010 <= min(found) < 0.011
    assert 0.089 < max(found) <= 0.090
    assert mean(found) == pytest.approx(0.05, abs=0.0016)


def test_normal_delays():
    found = sorted(delays("normal(50ms,10ms)"))
    expected = NormalDist(0.05, 0.01)
    # The largest distance of the two distribution functions (Kolmogorov and Smirnov), at 99.9 %.
    distance = max(abs(expected.cdf(value) - rank / 4000) for rank, value in enumerate(found))
    assert distance < 1.95 / sqrt(4000)


def test_normal_delays_are_never_negative():
    found = delays("normal(1ms,10ms)")
    assert min(found) == 0
    assert interval(4000, 0.46)[0] < found.count(0) < interval(4000, 0.46)[1]


def test_pareto_delays():
    found = sorted(delays("pareto(10ms,1.5)"))
    distance = max(abs(1 - (0.01 / value) ** 1.5 - rank / 4000) for rank, value in enumerate(found))
    assert distance < 1.95 / sqrt(4000)
    assert median(found) == pytest.approx(0.01 * exp(log(2) / 1.5), rel=0.05)


def test_no_delay_is_longer_than_a_thousand_hours():
    assert max(delays("pareto(1h,0.001)")) == 3_600_000.0


# -- sizes


def test_the_sizes_of_pieces_are_those_of_the_reply():
    schedule = plan_of("slice=100..200,5ms").schedule(1)
    (first,), (second,) = schedule.reply(0, 0, 1000, 0), schedule.reply(1, 1000, 1000, 0)
    sizes = list(islice(first.sizes(), 1000))
    assert (min(sizes), max(sizes), first.gap) == (100, 200, 0.005)
    assert sizes == list(islice(first.sizes(), 1000))
    assert sizes != list(islice(second.sizes(), 1000))
