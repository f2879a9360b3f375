"""Chapter 2: names and lists. Which threads are there, and what are they doing?

A thread is looked at before it starts, while it runs and after it has ended: its name, whether it is alive, and whether
the interpreter lists it.
"""

import threading
import time

from timeline import Timeline, main


def look(line: Timeline, when: str, thread: threading.Thread) -> None:
    listed = "listed" if thread in threading.enumerate() else "not listed"
    alive = "alive" if thread.is_alive() else "not alive"
    line.say(f"{when}: {thread.name}, {alive}, {listed}, {threading.active_count()} active")


def run() -> None:
    line = Timeline()
    at_work, go_home = threading.Event(), threading.Event()

    def work() -> None:
        line.say(f"this is {threading.current_thread().name}")
        with line.waiting("for work"):
            at_work.set()
            go_home.wait()

    # Without a name of its own a thread has a number, which says nothing in a log.
    nameless = threading.Thread(target=work)
    look(line, "before start", nameless)
    nameless.start()
    at_work.wait()
    look(line, "running", nameless)
    with line.doing("something else"):
        time.sleep(0.1)
    go_home.set()
    nameless.join()
    look(line, "after the end", nameless)

    at_work.clear()
    go_home.clear()
    named = threading.Thread(target=work, name="worker of order 7")
    named.start()
    at_work.wait()
    look(line, "running", named)
    names = sorted(thread.name for thread in threading.enumerate())
    line.say(f"enumerate() lists {names}; the main thread is {threading.main_thread().name}")
    named.name = "worker of order 8"  # a thread that serves the next order may say so
    look(line, "renamed", named)
    with line.doing("something else"):
        time.sleep(0.1)
    # Wrong: to ask is_alive() and hand over an order because of the answer. Here the thread ends between the two.
    alive = named.is_alive()
    go_home.set()
    named.join()
    line.say(f"is_alive() was {alive}; when the order comes it is {named.is_alive()}")
    try:
        named.start()
    except RuntimeError as error:
        line.say(f"a second start: {error}")
    look(line, "after the end", named)
    line.show("Before, during and after")


if __name__ == "__main__":
    main(run)
