"""Chapter 12: Condition. How does a thread wait until something is true of data that others change?

It sleeps until a condition wakes it, and then looks whether it is true. A server that stops waits in the same way.
"""

import threading
import time

from crew import crew, run_all
from peer import peer
from timeline import Timeline, main

from echoserver import Server, ServerConfig


def without(line: Timeline) -> None:
    shelf, looks = [], 0
    threading.Timer(0.2, shelf.append, ["loaf"]).start()  # a thread that bakes one loaf
    with line.doing("look again and again"):
        while not shelf:
            looks += 1
    line.say(f"looked {looks:,} times for one loaf")
    line.show("No condition")


def bakery(title: str, *, look_again: bool) -> None:
    line, changed, asleep, shelf = Timeline(), threading.Condition(), threading.Semaphore(0), []

    def buy() -> None:
        with changed, line.waiting("for a loaf"):  # the condition's lock guards the shelf
            asleep.release()  # the baker gets the lock only when `wait` releases it: we sleep by then
            changed.wait(timeout=4)
            while look_again and not shelf:
                changed.wait(timeout=4)
            line.say(f"I take the {shelf.pop()}" if shelf else "I was woken, and the shelf is empty")

    def bake() -> None:
        asleep.acquire(), asleep.acquire()  # until both customers sleep
        for _ in range(2):
            with line.doing("bake"):
                time.sleep(0.2)
            with changed:
                shelf.append("loaf")
                changed.notify_all()

    run_all(customer_1=buy, customer_2=buy, baker=bake)
    line.show(title)


def drain(title: str, seconds: float) -> None:
    def handle(data: bytes) -> bytes:
        begun.set()
        with line.doing("handle"):
            give_up.wait(seconds)
        return data

    def visit() -> None:
        with peer(server.address[1], b"hello") as session, line.waiting("for a reply"):
            line.say(f"received {session.receive()}")

    line, begun, give_up = Timeline(), threading.Event(), threading.Event()
    with Server(ServerConfig(port=0, handler=handle)) as server, crew(visitor=visit):
        begun.wait(4)
        with line.waiting("for no connection"):
            line.say(f"stop() had to cut {len(server.stop(timeout=0.6))} connections")
        line.show(title)
        give_up.set()


def run() -> None:
    without(Timeline())
    bakery("One loaf for two, who look once", look_again=False)
    bakery("One loaf for two, who look again", look_again=True)
    drain("A server that stops, with a handler that takes 0.3 s", 0.3)
    drain("A server that stops, with a handler that hangs", 4.0)


if __name__ == "__main__":
    main(run)
