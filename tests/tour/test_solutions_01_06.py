"""The solutions of the exercises of the first six chapters."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tour.kit import TOUR, load

PATIENCE = 20.0


def solution(number: int) -> object:
    (path,) = Path(TOUR / "solutions").glob(f"{number:02}_*.py")
    return load(path)


def test_01_a_call_hands_over_what_the_function_returned():
    call = solution(1).Call(lambda: 6 * 7)
    call.start()
    assert call.result() == 42


def test_01_a_call_raises_what_the_function_raised():
    call = solution(1).Call(lambda: [][0])
    call.start()
    with pytest.raises(IndexError):
        call.result()


def test_02_what_is_left_over_is_named():
    go_home = threading.Event()
    threads = [threading.Thread(target=go_home.wait, name=name) for name in ("same", "same", "other")]
    threads[0].start()

    def leave() -> None:
        for thread in threads[1:]:
            thread.start()
        ended = threading.Thread(target=int)
        ended.start()
        ended.join()

    try:
        assert solution(2).left_over(leave) == ["other", "same"]
    finally:
        go_home.set()
        for thread in threads:
            thread.join()


def test_03_the_mended_server_has_three_faults_less(monkeypatch):
    faults, server = load(TOUR / "upper_faults.py"), solution(3)
    listener = faults.listen()
    address = listener.getsockname()
    threads = []

    class Kept(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            super().start()

    monkeypatch.setattr(server.threading, "Thread", Kept)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # the listener is closed at the end
    accepting = threading.Thread(target=server.serve, args=(listener,))
    accepting.start()
    try:
        assert faults.long_reply(address) == "300,000 of 300,000 bytes arrive"
        assert faults.split_character(address) == "the reply is CAFÉ"
        assert not hasattr(server, "threads")
    finally:
        faults.close(listener)
        for thread in threads:
            thread.join(PATIENCE)


def test_04_all_are_joined_against_one_deadline():
    go_home = threading.Event()
    stuck = [threading.Thread(target=go_home.wait, daemon=True) for _ in range(3)]
    ended = threading.Thread(target=int)
    for thread in (*stuck, ended):
        thread.start()
    try:
        assert solution(4).join_all([*stuck, ended], 0.05) == stuck
    finally:
        go_home.set()
    assert solution(4).join_all([*stuck, ended], PATIENCE) == []


def test_04_the_deadline_is_for_all_of_them_together(monkeypatch):
    now, limits = [0.0], []

    class Stuck:
        def join(self, limit: float) -> None:
            limits.append(limit)
            now[0] += limit

        def is_alive(self) -> bool:
            return True

    module = solution(4)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert len(module.join_all([Stuck(), Stuck(), Stuck()], 3.0)) == 3
    assert limits == [3.0, 0.0, 0.0]


def test_05_waiting_is_told_from_computing(monkeypatch):
    module = solution(5)
    clock, used = iter([10.0, 14.0]), iter([1.0, 2.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module.time, "thread_time", lambda: next(used))
    assert module.share_of_waiting(lambda: None) == 0.75


def test_06_no_more_is_sold_than_there_is():
    office, at_once, sold = solution(6).Office(5), threading.Barrier(20), []

    def buy() -> None:
        at_once.wait(PATIENCE)
        sold.append(office.sell())

    buyers = [threading.Thread(target=buy) for _ in range(20)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    assert (sold.count(True), sold.count(False)) == (5, 15)
