"""Both pollers report the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from echoclient.load.poller import READ, WRITE, Poller, SelectorsPoller


@pytest.fixture(params=[Poller, SelectorsPoller])
def poller(request) -> Iterator[Poller]:
    poller = request.param()
    yield poller
    poller.close()


@pytest.mark.parametrize("poll", ["poll", "poll_precisely"])
def test_ready_descriptors_are_reported(poller, poll):
    wait = getattr(poller, poll)
    left, right = socket.socketpair()
    with left, right:
        number = left.fileno()
        poller.register(number, READ)
        assert wait(0.001) == []
        assert wait(-1e-9 if poll == "poll_precisely" else 0) == []
        right.send(b"x")
        assert wait(5) == [(number, READ)]
        assert wait(5) == [(number, READ)]  # level-triggered
        poller.modify(number, READ | WRITE)
        assert wait(5) == [(number, READ | WRITE)]
        left.recv(1)
        assert wait(5) == [(number, WRITE)]
        poller.modify(number, READ)
        right.close()
        ((found, events),) = wait(5)
        assert found == number
        assert events & READ
        poller.unregister(number)
        assert wait(0) == []
