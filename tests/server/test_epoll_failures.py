"""When epoll_ctl(2) fails for want of memory or of watches, that costs one peer and no thread."""

from __future__ import annotations

import errno
import os
import select
from threading import Event

import pytest

from server.kit import PATIENCE, scripted
from server.ways import wait_for, wait_until_settled, workers_ways

LARGE = 12 * 1024 * 1024


class FailingEpoll:
    """An epoll set that refuses what the test tells it to, once for each number put up."""

    def __init__(self) -> None:
        self._real = select.epoll()
        self.on_register: list[int] = []
        self.on_modify: list[int] = []
        self.refused = Event()

    def register(self, descriptor: int, events: int) -> None:
        self._refuse(self.on_register)
        self._real.register(descriptor, events)

    def modify(self, descriptor: int, events: int) -> None:
        self._refuse(self.on_modify)
        self._real.modify(descriptor, events)

    def _refuse(self, numbers: list[int]) -> None:
        if numbers:
            self.refused.set()
            number = numbers.pop()
            raise OSError(number, os.strerror(number))

    def unregister(self, descriptor: int) -> None:
        self._real.unregister(descriptor)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        return self._real.poll(timeout, most)

    def close(self) -> None:
        self._real.close()


@pytest.fixture
def epoll(monkeypatch) -> FailingEpoll:
    failing = FailingEpoll()
    monkeypatch.setattr(select, "epoll", lambda: failing)
    return failing


@workers_ways
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_a_peer_that_cannot_be_watched_is_ended_alone(serve, connect, log, epoll, dispatch, number):
    server = serve(scripted(blocking=False), dispatch=dispatch)
    before = connect(server)
    assert before.exchange(b"hello") == b"hello"
    epoll.on_register.append(number)
    unlucky = connect(server)
    assert unlucky.read_to_break() == b""
    line = log.ended(unlucky)
    assert (line["reason"], line["exc_info"].errno) == ("killed", number)
    assert before.exchange(b"again") == b"again"
    assert connect(server).swap(b"after") == b"after"
    before.close()
    wait_until_settled(server)


@workers_ways
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_a_peer_that_cannot_be_watched_any_longer_is_ended_alone(serve, connect, log, epoll, dispatch, number):
    server = serve(
        scripted(feed=lambda data: data * LARGE if data == b"?" else data, blocking=False), dispatch=dispatch
    )
    before, unlucky = connect(server), connect(server)
    for peer in (before, unlucky):
        assert peer.exchange(b"hello") == b"hello"
    if dispatch == "queue":
        # The reply is out before the connection is armed again, so wait until it is.
        assert connect(server).swap(b"x") == b"x"
        # So is the other one, which the refusal below must not meet instead.
        opened = server._mode._poller._drivers
        drivers = [opened[connection.transport.fileno()] for connection in server.connections()[:2]]
        wait_for(lambda: not any(driver.queued for driver in drivers), "a connection is not armed again")
    epoll.on_modify.append(number)
    unlucky.send(b"?")  # the reply does not fit, so the poller has to wait for other events than before
    assert epoll.refused.wait(PATIENCE)
    assert len(unlucky.read_to_break()) < LARGE
    assert log.ended(unlucky)["reason"] == "killed"
    assert before.exchange(b"again") == b"again"
    assert connect(server).swap(b"after") == b"after"
    stats = server.stats().workers
    assert stats.replaced == 0
    before.close()
    wait_until_settled(server)
