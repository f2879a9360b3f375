"""Waking a thread that waits for descriptors: with an eventfd, and with a pipe where there is none."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from select import select

import pytest

from echoserver.net.waker import Waker
from server.kit import PATIENCE


@pytest.fixture(params=["eventfd", "pipe"])
def waker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waker]:
    if request.param == "pipe":
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this platform has no eventfd")
    made = Waker()
    yield made
    made.close()


def is_awake(waker: Waker) -> bool:
    return bool(select([waker], [], [], 0)[0])


def test_it_is_readable_from_the_wake_up_until_it_is_cleared(waker):
    assert not is_awake(waker)
    waker.clear()
    for _ in range(3):
        waker.wake()
        waker.wake()
        assert is_awake(waker)
        waker.clear()
        assert not is_awake(waker)


def test_it_wakes_a_thread_that_waits(waker, background):
    waiting = background(select, [waker], [], [], PATIENCE)
    waker.wake()
    assert waiting.result(PATIENCE)[0] == [waker]


def test_more_wake_ups_than_it_holds_neither_block_nor_fail(waker):
    # A pipe holds 8,192 of them, or fewer.
    for _ in range(20_000):
        waker.wake()
    assert is_awake(waker)
    waker.clear()
    assert not is_awake(waker)


def test_once_closed_it_has_no_descriptor_and_does_nothing(waker):
    waker.wake()
    waker.close()
    assert waker.fileno() == -1
    waker.wake()
    waker.clear()
    waker.close()


def test_a_late_wake_up_writes_to_no_other_descriptor(waker, background, monkeypatch):
    """The writer has read the descriptor's number; `close` must not free it for somebody else before the write."""
    write, writing, may_write = os.write, threading.Event(), threading.Event()

    def slow_write(descriptor: int, data: bytes) -> int:
        writing.set()
        assert may_write.wait(PATIENCE)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow_write)
    waking = background(waker.wake)
    assert writing.wait(PATIENCE)
    closing = background(waker.close)
    assert waker._lock.locked()
    assert not closing.done()
    assert os.fstat(waker.fileno())
    may_write.set()
    waking.result(PATIENCE)
    closing.result(PATIENCE)
    assert waker.fileno() == -1


def test_the_default_timeout_of_sockets_does_not_matter(monkeypatch):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        made = Waker()
    finally:
        socket.setdefaulttimeout(before)
    made.clear()  # returns at once
    made.close()


def refuse(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("kind", ["eventfd", "pipe"])
def test_without_a_descriptor_there_is_no_waker(kind, monkeypatch):
    if kind == "pipe":
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this platform has no eventfd")
    monkeypatch.setattr(os, kind, refuse)
    with pytest.raises(OSError, match="Too many open files"):
        Waker()


def test_closing_leaves_no_descriptor_open(monkeypatch):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc/self/fd")
    before = os.listdir("/proc/self/fd")
    Waker().close()
    monkeypatch.delattr(os, "eventfd", raising=False)
    Waker().close()
    assert os.listdir("/proc/self/fd") == before


def test_wake_ups_of_many_threads_are_all_seen(waker, background: Callable):
    """Each adds to the work and then wakes; the one that waits clears first and looks then, so nothing is lost."""
    work: list[int] = []
    start = threading.Barrier(9)

    def bring() -> None:
        start.wait(PATIENCE)
        for number in range(500):
            work.append(number)
            waker.wake()

    bringing = [background(bring) for _ in range(8)]
    start.wait(PATIENCE)
    seen = 0
    while seen < 4000:
        assert select([waker], [], [], PATIENCE)[0], f"a wake-up was lost after {seen}"
        waker.clear()
        seen = len(work)
    for done in bringing:
        done.result(PATIENCE)
