"""Chapter 5: the GIL. When do threads make a program faster?

Four sums are computed one after the other, in threads, in processes, and in subinterpreters where this Python has them.
Four waits stand next to them. At the end comes the convoy: threads that wake one another, on all cores and on one.
"""

import inspect
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import convoy
from timeline import Timeline, bars, main


def compute() -> int:
    return sum(n & 7 for n in range(1_000_000))


def wait() -> None:
    time.sleep(0.1)  # without the lock, like every call that waits for the system


if sys.version_info >= (3, 14):
    from concurrent import interpreters

    def in_subinterpreter() -> None:
        interpreter = interpreters.create()
        interpreter.exec(f"{inspect.getsource(compute)}\ncompute()")
        interpreter.close()


def measure(line: Timeline, name: str, work: Callable[[], object], *, at_once: bool = True) -> float:
    """Do the work in four threads and return the seconds that it took."""

    def one() -> None:
        with line.waiting("waits") if work is wait else line.doing("computes"):
            work()

    began = time.perf_counter()
    threads = [threading.Thread(target=one, name=f"{name} {number}") for number in range(1, 5)]
    for thread in threads:
        thread.start()
        if not at_once:
            thread.join()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def run() -> None:
    with ProcessPoolExecutor(min(4, convoy.cores()), mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(compute).result()  # to start a process takes longer than the sum
        line = Timeline()
        gil = "with the GIL" if getattr(sys, "_is_gil_enabled", lambda: True)() else "without the GIL"
        line.say(f"Python {sys.version.split()[0]} {gil}, {convoy.cores()} cores")
        sums = {"one after the other": measure(line, "serial", compute, at_once=False)}
        sums["in threads"] = measure(line, "thread", compute)
        sums["in processes"] = measure(line, "process", lambda: pool.submit(compute).result())
    if sys.version_info >= (3, 14):
        sums["in subinterpreters"] = measure(line, "interpreter", in_subinterpreter)
    waits = {"one after the other": measure(line, "wait alone", wait, at_once=False)}
    waits["in threads"] = measure(line, "wait", wait)
    line.show("Who works when")
    bars("Four sums", sums)
    bars("Four waits", waits)
    bars("The convoy: round trips of 8 pairs of threads", convoy.measure(), "per second")


if __name__ == "__main__":
    main(run)
