"""A connection that another thread wakes while a worker gives it back is served by one thread at a time."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace

import pytest

from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.rate import TokenBucket
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.ready import ReadyQueue
from server.connection_kit import ANY_CORE, make_connection
from server.log_lines import LogLines


class Stepped:
    """A poller whose steps the test takes, and one connection with a rate limit, which a worker has."""

    def __init__(self, sock) -> None:
        bucket = TokenBucket(1, 1, of_bytes=False, now=monotonic())
        self.connection = make_connection(sock, lambda data: data, bucket=bucket)
        self.driver = NonBlockingDriver(self.connection)
        self.driver.queued, self.driver.resume_at = True, monotonic()
        self.ended: list[object] = []
        self.ready = ReadyQueue("fifo", 10, LogLines().logger)
        lifecycle = SimpleNamespace(begin_close=self.ended.append)
        self.poller = Poller(self.ready, lifecycle=lifecycle, affinity=ANY_CORE)
        self.poller.open()
        self.poller._drivers[self.connection.transport.fileno()] = self.driver

    def give_back_and_wake(self, interest: Interest) -> None:
        """Have the worker give it back, and the poller see that it was woken before it sees that it was given back."""
        self.poller.give_back(self.driver, interest, ReceiveBuffer())
        self.connection.end(CloseReason.DRAINED)
        self.poller._resume(self.connection)


@pytest.fixture
def stepped(pair) -> Iterator[Stepped]:
    made = Stepped(pair[0])
    yield made
    made.poller.close()


def test_one_that_has_ended_is_not_served_again(stepped):
    """It would say its last words twice, in a thread that serves it while the poller closes it."""
    stepped.give_back_and_wake(Interest.NOTHING)
    assert stepped.ready.depth == 0
    stepped.poller._take_messages()
    assert (stepped.ready.depth, stepped.ended) == (0, [stepped.connection])


def test_one_that_pauses_is_queued_once(stepped):
    stepped.give_back_and_wake(Interest.PAUSE)
    stepped.poller._take_messages()
    stepped.poller._take_due(stepped.poller._timers)
    assert stepped.ready.depth == 1
    taken, _ = stepped.ready.get()
    assert taken is stepped.driver
    stepped.poller.give_back(stepped.driver, Interest.NOTHING, ReceiveBuffer())
    stepped.poller._take_messages()
    stepped.poller._take_due(stepped.poller._timers)
    assert (stepped.ready.depth, stepped.ended) == (0, [stepped.connection])


def test_one_that_cannot_be_armed_is_not_served_again(stepped, monkeypatch):
    monkeypatch.setattr(stepped.poller.set, "arm", lambda _driver, _interest: False)
    stepped.give_back_and_wake(Interest.READ)
    assert stepped.ready.depth == 0
    stepped.poller._take_messages()
    assert (stepped.ready.depth, stepped.ended) == (0, [stepped.connection])
