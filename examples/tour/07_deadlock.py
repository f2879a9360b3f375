"""Chapter 7: deadlock and RLock. Why do two threads hang for ever, and which waits for which?

Two threads that acquire two locks in opposite orders get stuck, and a watchdog says where. One order for both is the
cure. A thread that acquires a lock twice waits for itself; an RLock prevents that, and can hide a fault.
"""

from __future__ import annotations

import threading
import time

from timeline import Timeline, main
from watchdog import Watchdog


def run_watched(line: Timeline, title: str, watchdog: Watchdog, *threads: threading.Thread) -> None:
    """Run the threads to their end; the main thread looks after them."""
    for thread in threads:
        thread.start()
    found: list[str] = []
    while not found and any(thread.is_alive() for thread in threads):
        threads[-1].join(0.1)
        found = watchdog.deadlocks()
    for text in found or ["nobody"]:
        line.say(f"deadlock: {text}")
    for thread in threads:
        thread.join()
    line.show(title)


def two_locks(title: str, order: str) -> None:
    """Have two threads acquire the locks A and B: anna in this order, ben in the order given."""
    line = Timeline()
    watchdog, locks, both = Watchdog(line), {"A": threading.Lock(), "B": threading.Lock()}, threading.Barrier(2)

    def transfer(first: str, second: str, patience: float) -> None:
        with watchdog.locked(first, locks[first], patience):
            if order == "BA":
                both.wait()  # forces what is rare otherwise: each holds one lock before it asks for the other
            with watchdog.locked(second, locks[second], patience):
                line.say(f"I hold {first} and {second}")
                time.sleep(0.2)

    anna = threading.Thread(target=transfer, args=("A", "B", 4.0), name="anna")
    ben = threading.Thread(target=transfer, args=(*order, 0.8), name="ben")  # the first to give up
    run_watched(line, title, watchdog, anna, ben)


def one_lock_twice(title: str, lock: threading.Lock | threading.RLock, count_after: int) -> None:
    """Have a thread move 10 from one drawer to the other, and count what is in them after so many steps."""
    line, drawers = Timeline(), [50, 50]
    watchdog = Watchdog(line)

    def count() -> None:
        with watchdog.locked("drawers", lock, 0.8):  # another thread may be moving something
            line.say(f"100 are in the drawers, and I count {sum(drawers)}")
            time.sleep(0.2)

    def move() -> None:
        with watchdog.locked("drawers", lock, 0.8):
            for step, change in ((1, -10), (2, 10)):
                drawers[step - 1] += change
                if step == count_after:
                    count()  # acquires the lock that this thread holds already

    run_watched(line, title, watchdog, threading.Thread(target=move, name="clerk"))


def run() -> None:
    two_locks("Two locks in two orders", "BA")
    two_locks("Two locks in one order: the cure", "AB")
    one_lock_twice("Lock: the clerk waits for itself", threading.Lock(), 2)
    one_lock_twice("RLock: the clerk may enter twice", threading.RLock(), 2)
    one_lock_twice("RLock hides a fault: it counts what is half moved", threading.RLock(), 1)


if __name__ == "__main__":
    main(run)
