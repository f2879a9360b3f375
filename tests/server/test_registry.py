"""The registry: which connections are open, and waiting until none is."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from echoserver.clock import Deadline
from echoserver.serving.connection import Connection
from echoserver.serving.registry import ConnectionRegistry
from server.kit import PATIENCE


class Entry(Connection):
    """A connection as the registry sees it."""

    def __init__(self, number: int) -> None:
        self.number = number


class ObservedDeadline(Deadline):
    """A deadline that tells when it is first asked how long to wait: the caller is about to."""

    __slots__ = ("asked",)

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.asked = threading.Event()

    def timeout(self) -> float | None:
        self.asked.set()
        return super().timeout()


def test_connections_are_listed_oldest_first():
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


def test_removing_an_unknown_connection_raises():
    registry, entry = ConnectionRegistry(), Entry(1)
    registry.add(entry)
    registry.remove(entry)
    with pytest.raises(KeyError):
        registry.remove(entry)
    assert len(registry) == 0  # and the lock has been released


def test_wait_empty_returns_at_once_when_the_registry_is_empty():
    assert ConnectionRegistry().wait_empty(Deadline(0))
    expired = Deadline(0)
    expired.expire()
    assert ConnectionRegistry().wait_empty(expired)


def test_wait_empty_returns_when_the_last_connection_is_removed(background):
    registry, entries = ConnectionRegistry(), [Entry(number) for number in range(10)]
    for entry in entries:
        registry.add(entry)
    deadline = ObservedDeadline(PATIENCE)
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
def test_wait_empty_notices_a_deadline_that_is_brought_forward(background, seconds):
    registry = ConnectionRegistry()
    registry.add(Entry(1))
    deadline = ObservedDeadline(seconds)
    waiting = background(registry.wait_empty, deadline)
    assert deadline.asked.wait(PATIENCE)
    registry.wake()  # nothing has changed: it goes on waiting
    deadline.expire()
    registry.wake()
    assert waiting.result(PATIENCE) is False


def test_many_threads_add_and_remove_connections(background):
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
