"""Timers: what is due when, and in which order."""

from __future__ import annotations

from echoserver.serving.workers.timers import TimerHeap


def test_items_are_due_earliest_first():
    timers: TimerHeap[str] = TimerHeap()
    assert timers.timeout(0.0) == -1
    for item, due in [("b", 2.0), ("c", 3.0), ("a", 1.0), ("a2", 1.0)]:
        timers.add(item, due)
    assert timers.timeout(0.5) == 0.5
    assert timers.timeout(5.0) == 0.0
    assert timers.take_due(0.999) == []
    assert timers.take_due(2.0) == ["a", "a2", "b"]
    assert "a" not in timers
    assert "c" in timers
    assert timers.take_due(2.0) == []
    assert timers.take_due(9.0) == ["c"]
    assert timers.timeout(9.0) == -1


def test_a_discarded_item_is_not_due():
    timers: TimerHeap[str] = TimerHeap()
    timers.add("a", 1.0)
    timers.discard("a")
    timers.discard("stranger")
    assert timers.take_due(1.0) == []
    timers.add("a", 2.0)
    timers.discard("a")
    timers.add("a", 3.0)
    assert timers.take_due(2.5) == []
    assert timers.take_due(3.0) == ["a"]


def test_adding_an_item_again_changes_its_time():
    timers: TimerHeap[str] = TimerHeap()
    timers.add("a", 1.0)
    timers.add("a", 3.0)
    assert timers.take_due(2.0) == []
    timers.add("a", 2.5)
    timers.add("a", 2.5)
    assert timers.take_due(9.0) == ["a"]
    assert timers.take_due(9.0) == []


def test_items_due_at_the_same_time_are_never_compared():
    timers: TimerHeap[object] = TimerHeap()
    items = [object() for _ in range(5)]
    for item in items:
        timers.add(item, 1.0)
    assert timers.take_due(1.0) == items


def test_all_are_taken_at_once():
    timers: TimerHeap[str] = TimerHeap()
    timers.add("a", 1.0)
    timers.add("b", 2.0)
    timers.discard("a")
    assert timers.take_all() == ["b"]
    assert timers.take_due(9.0) == []
    assert timers.timeout(9.0) == -1
