"""The solutions of the exercises of chapters 7 to 12."""

from __future__ import annotations

import queue
import threading
from types import ModuleType

import pytest

from tour.kit import TOUR, load

PATIENCE = 20.0


def solution(number: int) -> ModuleType:
    (path,) = (TOUR / "solutions").glob(f"{number:02}_*.py")
    return load(path)


def run_all(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


class Noting:
    """A lock that notes the order in which locks are acquired."""

    def __init__(self, acquired: list[object]) -> None:
        self._acquired = acquired
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        assert self._lock.acquire(timeout=PATIENCE)
        self._acquired.append(self)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_07_two_threads_acquire_in_the_same_order():
    all_of, acquired = solution(7).all_of, []
    first, second = Noting(acquired), Noting(acquired)

    def hold(*locks: object) -> None:
        with all_of(*locks):
            pass

    run_all(threading.Thread(target=hold, args=(first, second)), threading.Thread(target=hold, args=(second, first)))
    assert len(acquired) == 4
    assert acquired[:2] == acquired[2:]


def test_07_a_lock_that_is_named_twice_is_held_once_and_released():
    lock = threading.Lock()
    with solution(7).all_of(lock, lock):
        assert lock.locked()
    assert not lock.locked()


def test_08_all_jobs_are_taken_in_order():
    inbox = solution(8).Inbox()
    inbox.put("a")
    inbox.put("b")
    assert inbox.take_all(PATIENCE) == ["a", "b"]
    assert inbox.take_all(0.0) == []


@pytest.mark.parametrize("before", [True, False])
def test_08_a_job_that_comes_while_the_event_is_cleared_is_not_forgotten(before):
    inbox, taken = solution(8).Inbox(), []

    class Interrupted(threading.Event):
        def clear(self) -> None:
            if before:
                inbox.put("late")
            super().clear()
            if not before:
                inbox.put("late")

    inbox.filled = Interrupted()
    inbox.put("early")
    taken += inbox.take_all(PATIENCE)
    inbox.filled.__class__ = threading.Event
    taken += inbox.take_all(0.0)
    assert taken == ["early", "late"]


def test_08_a_job_that_comes_after_the_last_look_leaves_the_event_set():
    inbox = solution(8).Inbox()
    inbox.put("early")
    assert inbox.take_all(PATIENCE) == ["early"]
    assert not inbox.filled.is_set()
    inbox.put("late")
    assert inbox.filled.is_set()


def test_09_three_are_lent_at_once_and_each_to_one():
    pool, together, lent, lock = solution(9).Pool("abc"), threading.Barrier(3), [], threading.Lock()

    def use() -> None:
        with pool.borrow(PATIENCE) as thing:
            with lock:
                assert thing not in lent
                lent.append(thing)
            together.wait(PATIENCE)
            with lock:
                lent.remove(thing)

    run_all(*[threading.Thread(target=use) for _ in range(9)])
    assert lent == []


def test_09_whoever_finds_nothing_is_told_and_everything_comes_back():
    pool = solution(9).Pool(["only"])
    with pool.borrow(PATIENCE), pytest.raises(TimeoutError, match="nothing is free"), pool.borrow(0.01):
        pass
    with pytest.raises(ZeroDivisionError), pool.borrow(PATIENCE):
        1 / 0  # noqa: B018
    with pool.borrow(PATIENCE) as thing:
        assert thing == "only"


def test_10_join_within_returns_whether_all_is_done():
    join_within, jobs = solution(10).join_within, queue.Queue()
    jobs.put("job")
    jobs.get()
    assert not join_within(jobs, 0.01)
    done = threading.Thread(target=jobs.task_done)
    done.start()
    assert join_within(jobs, PATIENCE)
    done.join()


def test_11_put_never_waits_and_counts_what_it_drops():
    lines = solution(11).Lines(5)
    run_all(*[threading.Thread(target=lines.put, args=(str(number),)) for number in range(20)])
    assert lines.waiting.qsize() == 5
    assert (lines.take_dropped(), lines.take_dropped()) == (15, 0)


def test_12_the_latch_lets_all_go_on_once_it_is_open():
    latch, opened = solution(12).Latch(3), []
    waiting = [threading.Thread(target=lambda: opened.append(latch.wait(PATIENCE))) for _ in range(2)]
    assert not latch.wait(0.0)
    latch.count_down()
    latch.count_down()
    assert not latch.wait(0.0)
    run_all(*waiting, threading.Thread(target=latch.count_down))
    assert opened == [True, True]
    assert latch.wait(0.0)
