"""Which threads count as stuck: those that a wake-up has not moved for a second."""

from __future__ import annotations

from threading import Event, Thread
from typing import ClassVar

import pytest

from echoserver import Handler, Server
from echoserver.serving import pulse as pulses
from echoserver.serving.pulse import Pulse
from server.kit import PATIENCE
from server.ways import wait_for


class Fake:
    def __init__(self) -> None:
        self.rounds, self.nudges, self._go_on = 0, 0, Event()
        self.thread = Thread(target=self._go_on.wait, name="fake")
        self.thread.start()

    def nudge(self) -> None:
        self.nudges += 1

    def end(self) -> None:
        self._go_on.set()
        self.thread.join()


@pytest.fixture
def now(monkeypatch):
    moments = [100.0]
    monkeypatch.setattr(pulses, "monotonic", lambda: moments[0])
    return moments


@pytest.fixture
def fake():
    made = Fake()
    yield made
    made.end()


def test_a_thread_that_goes_round_is_not_stuck(fake, now):
    pulse = Pulse([fake])
    for _ in range(5):
        assert pulse.stuck() == []
        now[0] += 10
        fake.rounds += 1
    assert fake.nudges == 5


def test_a_thread_that_does_not_move_for_a_second_is_stuck_until_it_moves(fake, now):
    pulse = Pulse([fake])
    assert pulse.stuck() == []
    now[0] += 0.9
    assert pulse.stuck() == []
    now[0] += 0.1
    assert pulse.stuck() == ["fake"]
    fake.rounds += 1
    assert pulse.stuck() == []


def test_a_thread_that_has_ended_is_not_stuck(fake, now):
    pulse = Pulse([fake])
    pulse.stuck()
    fake.end()
    now[0] += 10
    assert pulse.stuck() == []


def beats(server: Server) -> list[int]:
    return [entry.rounds for entry in server._pulse._beating]


def test_the_threads_of_an_idle_server_go_round_when_nudged(serve):
    server = serve()
    for _ in range(3):
        before = beats(server)
        server.stuck()
        wait_for(lambda seen=before: all(new > old for new, old in zip(beats(server), seen, strict=True)), "no round")


def test_an_acceptor_that_waits_for_a_place_goes_round(serve, connect):
    server = serve(max_connections=1)
    assert connect(server).exchange(b"hello") == b"hello"
    connect(server)
    wait_for(lambda: server.stats().held, "the acceptor does not wait")
    before = beats(server)[0]
    server.stuck()
    wait_for(lambda: beats(server)[0] > before, "no round")


@pytest.mark.parametrize("mode", ["workers"])
def test_a_poller_that_a_handler_holds_is_stuck(serve, connect, now):
    begun, go_on = Event(), Event()

    class Holds(Handler):
        blocking: ClassVar[bool] = False

        def feed(self, data: bytes) -> bytes:
            begun.set()
            go_on.wait(PATIENCE)
            return data

    server = serve(Holds)
    connect(server).send(b"hello")
    try:
        assert begun.wait(PATIENCE)
        server.stuck()
        server.stuck()  # the wake-up of the call before came too late for the poller
        now[0] += 10
        seen = beats(server)
        wait_for(lambda: beats(server)[1] > seen[1], "the janitor does not look")
        assert "poller" in server.stuck()
    finally:
        go_on.set()


@pytest.mark.parametrize("mode", ["workers"])
def test_a_poller_that_waits_for_a_place_on_the_queue_is_not(serve, connect, gate):
    server = serve(gate, workers=1, queue_size=1)
    peers = [connect(server) for _ in range(4)]
    for peer in peers:
        peer.send(b"x")
    wait_for(lambda: server.stats().workers.queue_full, "the queue is not full")
    before = beats(server)[2]
    wait_for(lambda: beats(server)[2] > before, "the poller is taken for stuck")
