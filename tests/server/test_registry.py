"""The registry: who is there, and waiting until nobody is."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from echoserver.clock import Deadline
from echoserver.serving.connection import Connection
from echoserver.serving.registry import ConnectionRegistry
from server.kit import PATIENCE


class Entry(Connection):
    """A connection as far as the registry needs one."""

    def __init__(self, number: int) -> None:
        self.number = number


class Eager(Deadline):
    """A deadline that says when it is first asked how long to wait, and so that somebody is about to."""

    __slots__ = ("asked",)

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.asked = threading.Event()

    def timeout(self) -> float | None:
        self.asked.set()
        return super().timeout()


def test_who_is_there_oldest_first():
    registry = ConnectionRegistry()
    entries = [Entry(number) for number in (3, 1, 2)]
    for entry in entries:
        registry.add(entry)
    assert registry.live() == entries
    assert len(registry) == 3
    registry.remove(entries[1])
    assert registry.live() == [entries[0], entries[2]]


def test_the_list_is_the_callers_own():
    registry = ConnectionRegistry()
    registry.add(Entry(1))
    registry.live().clear()
    assert len(registry) == 1
    before = registry.live()
    registry.add(Entry(2))
    assert len(before) == 1


def test_removing_what_is_not_there_is_a_defect_that_shows():
    registry, entry = ConnectionRegistry(), Entry(1)
    registry.add(entry)
    registry.remove(entry)
    with pytest.raises(KeyError):
        registry.remove(entry)
    assert len(registry) == 0  # and the lock has been given back


def test_an_empty_registry_keeps_nobody_waiting():
    assert ConnectionRegistry().wait_empty(Deadline(0))
    expired = Deadline(0)
    expired.expire()
    assert ConnectionRegistry().wait_empty(expired)


def test_wait_empty_returns_when_the_last_one_leaves(background):
    registry, entries = ConnectionRegistry(), [Entry(number) for number in range(10)]
    for entry in entries:
        registry.add(entry)
    deadline = Eager(PATIENCE)
    waiting = background(registry.wait_empty, deadline)
    assert deadline.asked.wait(PATIENCE)
    for entry in entries[:-1]:
        registry.remove(entry)
    assert not waiting.done()
    registry.remove(entries[-1])
    assert waiting.result(PATIENCE) is True


def test_wait_empty_gives_up_at_the_deadline():
    registry = ConnectionRegistry()
    registry.add(Entry(1))
    begun = monotonic()
    assert registry.wait_empty(Deadline(0.1)) is False
    assert monotonic() - begun >= 0.1


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_deadline_that_is_brought_forward_is_noticed(background, seconds):
    registry = ConnectionRegistry()
    registry.add(Entry(1))
    deadline = Eager(seconds)
    waiting = background(registry.wait_empty, deadline)
    assert deadline.asked.wait(PATIENCE)
    registry.wake()  # nothing has changed: it goes on waiting
    deadline.expire()
    registry.wake()
    assert waiting.result(PATIENCE) is False


def test_the_books_stay_right_under_many_threads(background):
    registry, start = ConnectionRegistry(), threading.Barrier(4)

    def churn(seed: int) -> None:
        start.wait(PATIENCE)
        for number in range(2000):
            entry = Entry(seed * 10_000 + number)
            registry.add(entry)
            assert entry in registry.live()
            assert len(registry) >= 1
            registry.remove(entry)

    for future in [background(churn, seed) for seed in range(4)]:
        future.result(PATIENCE)
    assert registry.wait_empty(Deadline(PATIENCE))
