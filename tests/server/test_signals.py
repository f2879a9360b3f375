"""The inbox of the main thread: no event is lost, whatever the state of the socket that wakes it."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from echoserver.process.signals import EventInbox, Notice, signals_as_events, taken_signals

PATIENCE = 10.0


@pytest.fixture
def inbox():
    made = EventInbox()
    yield made
    made.close()


def fill(inbox: EventInbox) -> None:
    """Fill the socket, as a flood of signals does."""
    try:
        while True:
            os.write(inbox.fileno(), bytes(65536))
    except BlockingIOError:
        pass


def test_an_event_reaches_a_waiter(inbox):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(inbox.wait, PATIENCE)
        inbox.post(Notice.DRAINED)
        assert waiting.result(PATIENCE) == [Notice.DRAINED]


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_without_an_event_the_waiter_returns_in_time(inbox, timeout):
    assert inbox.wait(timeout) == []


def test_a_full_socket_loses_no_event_and_raises_nothing(inbox):
    fill(inbox)
    inbox.post(signal.SIGTERM)
    inbox.post(Notice.DRAINED)
    assert inbox.wait(PATIENCE) == [signal.SIGTERM, Notice.DRAINED]


def test_stop_signals_come_first_and_repeated_requests_count_once(inbox):
    for event in [signal.SIGUSR1] * 1000 + [Notice.FAILED, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM]:
        inbox.post(event)
    assert inbox.wait(PATIENCE) == [signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1, Notice.FAILED]


def test_events_of_many_threads_all_arrive(inbox):
    def post() -> None:
        for _ in range(1000):
            inbox.post(Notice.FAILED)

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    arrived = 0
    while arrived < 8000:
        arrived += len(inbox.wait(PATIENCE))
    for thread in threads:
        thread.join(PATIENCE)
    assert arrived == 8000


def test_a_signal_arrives_although_the_socket_is_full():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    before[signal.SIGUSR1] = signal.getsignal(signal.SIGUSR1)
    try:
        with signals_as_events(*taken_signals()) as inbox:
            fill(inbox)
            signal.raise_signal(signal.SIGTERM)
            assert inbox.wait(PATIENCE) == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN, "the process is ending"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_that_another_thread_receives_wakes_the_waiter():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    before[signal.SIGUSR1] = signal.getsignal(signal.SIGUSR1)
    try:
        with signals_as_events(*taken_signals()) as inbox:

            def kill() -> None:
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

            thread = threading.Thread(target=kill)
            thread.start()
            events = inbox.wait(PATIENCE) or inbox.wait(PATIENCE)
            thread.join(PATIENCE)
            assert events == [signal.SIGUSR1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
