"""Chapter 6: Lock. Why is one number wrong when many threads change it?

Each of a hundred threads sells one of a hundred tickets: it reads the number and then writes it. In between, another
thread may read it too; a barrier makes sure that all of them do. With a lock the number is right. It is right as well
if each thread is joined before the next one starts, but then a loop would do.
"""

import threading
import time
from collections.abc import Callable
from timeit import timeit

from timeline import Timeline, bars, main

SELLERS, COUNT = 100, 20_000


class Office:
    def __init__(self) -> None:
        self.left = SELLERS
        self.lock = threading.Lock()  # guards `left`
        self.all_have_read = threading.Barrier(SELLERS, timeout=30)
        self.line = Timeline()

    def sell_wrong(self) -> None:
        left = self.left
        with self.line.waiting("for all to have read"):
            self.all_have_read.wait()
        self.left = left - 1

    def sell(self) -> None:
        with self.line.doing("prints"):
            time.sleep(0.005)  # each has a printer, so this needs no lock
        with self.line.waiting("for the lock"), self.lock, self.line.doing("sells"), self.line.holding("the lock"):
            left = self.left
            time.sleep(0.001)  # time enough for another to read the same, if it could
            self.left = left - 1

    def count_down(self) -> None:
        for _ in range(COUNT):
            self.left -= 1


def in_threads(work: Callable[[Office], None], *, join_each: bool = False) -> Office:
    office = Office()
    threads = [threading.Thread(target=work, args=(office,), name=f"seller {n}") for n in range(1, SELLERS + 1)]
    for thread in threads:
        thread.start()
        if join_each:
            thread.join()
    for thread in threads:
        thread.join()
    return office


def show(name: str, office: Office) -> float:
    seconds = office.line.now()
    office.line.say(f"{name}: 100 sold, {office.left} left")
    office.line.show(name, most=6)
    return seconds


def run() -> None:
    show("without a lock", in_threads(Office.sell_wrong))
    with_lock = show("with a lock", in_threads(Office.sell))
    joined = show("each joined before the next", in_threads(Office.sell, join_each=True))
    bars("A hundred sales", {"with a lock": with_lock, "each joined before the next": joined})
    office = in_threads(Office.count_down)
    lost = SELLERS * COUNT + office.left - SELLERS
    office.line.say(
        f"{SELLERS * COUNT:,} changes without a lock or a barrier: {lost:,} lost{'' if lost else ', by luck'}"
    )
    changes = ("office.left -= 1", "with office.lock: office.left -= 1")
    price = {code: 1e9 * timeit(code, number=COUNT, globals={"office": office}) / COUNT for code in changes}
    bars("The price of a lock", price, "ns")


if __name__ == "__main__":
    main(run)
