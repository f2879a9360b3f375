"""Tickets: short, enough by themselves, and refused when they are damaged."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from echoserver.faults.draws import MOST_SEED
from echoserver.faults.plan import Plan
from echoserver.faults.tickets import Ticket, is_ticket, read_ticket
from faults.rule_kit import met, plan_of, rules

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
DAMAGED = r" is a damaged ticket: copy it whole and unchanged from the log line$"
TICKET = "F1LrS3VqSq1T17vR"


def test_the_format_stays():
    assert plan_of("delay=normal(50ms,10ms)", seed=42).schedule(1).ticket == TICKET
    (rule,) = plan_of("delay=normal(50ms,10ms)").rules
    assert read_ticket(TICKET) == Ticket(42, 1, (rule,))


@given(
    several=st.lists(rules, min_size=1, max_size=3, unique=True),
    seed=st.integers(0, MOST_SEED),
    connection=st.integers(1, 2**64 - 1),
)
def test_every_ticket_is_read_back(several, seed, connection):
    try:
        plan = Plan(several, seed)
    except ValueError:
        assume(False)
    schedule = plan.schedule(connection)
    if schedule is not None:
        ticket = read_ticket(schedule.ticket)
        assert (ticket.seed, ticket.connection) == (seed, connection)
        assert ticket.rules == tuple(bound.rule for bound in schedule.rules)
        assert str(ticket) == schedule.ticket


def test_every_connection_meets_what_the_ticket_says():
    texts = ("delay=normal(50ms,10ms)@50%", "corrupt=1%@30%", "reset@10%,byte 9000", "halfclose@1s..5s")
    plan = plan_of(*texts, seed=2**32 - 1)
    for number in met(plan, range(1, 50)):
        one = plan.schedule(number)
        replay = Plan.of_ticket(read_ticket(one.ticket))
        for other in (1, number, 10**6):
            again = replay.schedule(other)
            assert again.ticket == one.ticket
            assert again.next_time(-1.0) == one.next_time(-1.0)
            for index in range(10):
                first, second = (schedule.reply(index, 1000 * index, 1000, 0.0) for schedule in (one, again))
                assert list(map(str, first)) == list(map(str, second))


def test_a_ticket_has_only_the_rules_that_are_for_the_connection():
    plan = plan_of("reset@#1000", "close@#7", *(f"drop@msg {number},#{number}" for number in range(20, 60)))
    assert [str(rule) for rule in read_ticket(plan.schedule(7).ticket).rules] == ["close@#7"]


@pytest.mark.parametrize(
    "texts",
    [
        ("reset@10%,byte 1000",),
        ("delay=normal(50ms,10ms)",),
        ("delay=50ms:10,200ms:2", "corrupt@byte 1000003"),
        ("throttle=64kB/s@10%", "reset@1%/msg"),
    ],
)
def test_a_ticket_with_one_or_two_rules_is_short(texts):
    plan = plan_of(*texts, seed=2**32 - 1)
    number = next(n for n in range(9_000, 100_000) if (s := plan.schedule(n)) and len(s.rules) == len(texts))
    ticket = plan.schedule(number).ticket
    assert len(ticket) < 40
    assert ticket.isalnum()


@given(place=st.integers(2, len(TICKET) - 1), other=st.sampled_from(ALPHABET))
def test_a_changed_character_is_noticed(place, other):
    assume(TICKET[place] != other)
    with pytest.raises(ValueError, match=DAMAGED):
        read_ticket(TICKET[:place] + other + TICKET[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        TICKET[:-1],
        TICKET + "1",
        TICKET[:8],
        "F1",
        TICKET.lower().replace("f", "F", 1),
        TICKET + "\n",
        "F1" + "z" * 9999,
    ],
)
def test_a_damaged_ticket_is_refused_on_one_line(text):
    with pytest.raises(ValueError, match=DAMAGED) as refusal:
        read_ticket(text)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 160


@given(text=st.text() | st.text(alphabet=ALPHABET).map(lambda text: "F1" + text))
def test_any_text_is_a_ticket_or_refused(text):
    try:
        ticket = read_ticket(text)
    except ValueError as error:
        problem = str(error)
        assert problem.isprintable()
    else:
        assert str(ticket) == text


def test_what_is_no_ticket_is_told_apart_from_a_rule():
    with pytest.raises(ValueError, match=r"^'drop' is not a ticket: one begins with F1, as ticket= in the log"):
        read_ticket("drop")
    assert is_ticket(TICKET)
    assert not is_ticket("reset@10%")
