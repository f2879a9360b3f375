"""When messages are due, with a clock that the test controls."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.connection import Connection
from echoclient.load.open_loop import OpenLoop
from echoclient.load.pattern import Pattern
from echoclient.load.plan import Plan
from echoclient.target import Target

PATTERN = Pattern("echo", 1)


class FakePool:
    """Open connections, and a record of when each message that was sent was due."""

    def __init__(self, plan: Plan, index: int = 0) -> None:
        share = plan.share(index)
        self.connections = [
            Connection(share.first + number, PATTERN, Target(), verify=True) for number in range(share.connections)
        ]
        for connection in self.connections:
            connection.connected = True
        self.sent: list[tuple[int, float]] = []

    def send(self, connection: Connection) -> None:
        connection.unsent = 0
        for batch in connection.flight:
            if (connection.number, batch.planned) not in self.sent:
                self.sent.append((connection.number, batch.planned))

    def answer(self, workload: OpenLoop, number: int, now: float) -> None:
        connection = self.connections[number - self.connections[0].number]
        batch = connection.flight.popleft()
        connection.messages -= batch.count
        workload.answered(connection, batch.count, now)


def planned(plan: Plan, total: int, index: int = 0) -> tuple[FakePool, OpenLoop]:
    pool = FakePool(plan, index)
    return pool, OpenLoop(pool, plan, plan.share(index), 100.0, total)  # type: ignore[arg-type]


def test_messages_go_out_when_they_are_due_one_connection_after_the_other():
    pool, workload = planned(Plan(connections=3, rate=10.0), 5)
    assert workload.pump(99.95) == pytest.approx(100.0)
    assert pool.sent == []
    assert workload.pump(100.0) == pytest.approx(100.1)
    assert workload.pump(100.25) == pytest.approx(100.3)
    assert pool.sent == [(0, 100.0), (1, pytest.approx(100.1)), (2, pytest.approx(100.2))]
    assert workload.unsent == 2


def test_a_message_whose_connection_is_busy_waits_and_keeps_its_planned_time():
    pool, workload = planned(Plan(connections=2, rate=10.0), 6)
    for now in (100.0, 100.1, 100.2, 100.3, 100.4):
        workload.pump(now)
    assert [number for number, _ in pool.sent] == [0, 1]
    pool.answer(workload, 0, 100.45)
    assert pool.sent[2] == (0, pytest.approx(100.2))
    pool.answer(workload, 0, 100.46)
    assert pool.sent[3] == (0, pytest.approx(100.4))
    assert workload.unsent == 2


def test_a_pipeline_lets_messages_overtake_their_replies():
    pool, workload = planned(Plan(connections=1, rate=10.0, pipeline=3), 9)
    workload.pump(100.75)
    assert [due for _, due in pool.sent] == pytest.approx([100.0, 100.1, 100.2])
    assert workload.unsent == 6


def test_a_connection_that_is_down_catches_up_when_it_is_opened():
    pool, workload = planned(Plan(connections=1, rate=10.0, pipeline=8), 4)
    pool.connections[0].connected = False
    workload.pump(100.35)
    assert pool.sent == []
    pool.connections[0].connected = True
    workload.opened(pool.connections[0], 100.36)
    assert [due for _, due in pool.sent] == pytest.approx([100.0, 100.1, 100.2, 100.3])


def test_the_end_waits_for_replies_but_sends_nothing_after_the_time_limit():
    pool, workload = planned(Plan(connections=1, rate=10.0, timeout=2.0), 3)
    workload.pump(100.3)
    assert not workload.finished(102.2)
    assert not workload.finished(102.4)  # one is in flight
    pool.answer(workload, 0, 102.4)
    assert workload.unsent == 2
    assert workload.finished(102.4)


def test_a_plan_that_was_kept_is_finished():
    pool, workload = planned(Plan(connections=1, rate=10.0), 1)
    workload.pump(100.0)
    assert workload.unsent == 0
    assert not workload.finished(100.0)
    pool.answer(workload, 0, 100.1)
    assert workload.finished(100.1)
    assert workload.pump(100.2) == math.inf


@given(
    connections=st.integers(1, 9),
    total=st.integers(1, 60),
    rate=st.floats(0.5, 1e6),
    data=st.data(),
)
def test_however_late_the_pump_every_message_is_sent_once_over_all_processes(connections, total, rate, data):
    processes = data.draw(st.integers(1, connections))
    plan = Plan(connections=connections, rate=rate, pipeline=100, processes=processes)
    sent = []
    for index in range(processes):
        pool, workload = planned(plan, total, index)
        now = 100.0
        while workload.unsent:
            due = workload.pump(now)
            assert due > now or workload.unsent == 0
            now = max(due if due < math.inf else now, now + data.draw(st.floats(0, 40)) / rate)
        sent += pool.sent
    expected = sorted((message % connections, message) for message in range(total))
    assert [(number, round((due - 100) * rate)) for number, due in sorted(sent)] == expected


def test_a_hopeless_rate_costs_no_more_than_a_look_at_each_connection():
    pool, workload = planned(Plan(connections=2, rate=1e9), 10**10)
    due = workload.pump(105.0)
    assert due == pytest.approx(105.0, abs=1e-6)
    assert len(pool.sent) == 2
    assert workload.unsent == 10**10 - 2
