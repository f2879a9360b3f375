"""Chapter 1: a thread. How does a program do several things at once?

Three answers are fetched, and each takes 0.2 seconds to come: one after the other that makes 0.6 seconds, and 0.2 with
a thread each. Then a thread fails, and the thread that joins it learns nothing of it, unless the error is kept for it.
"""

import threading
import time

from timeline import Timeline, main

TOPICS = ("news", "weather", "prices")


def fetch(line: Timeline, topic: str) -> None:
    with line.waiting(f"for {topic}"):
        time.sleep(0.2)  # stands for a network, a disk or a database
    line.say(f"has {topic}")


def fail() -> None:
    raise ValueError("can't read prices")


class Failing(threading.Thread):
    """A thread by subclass: `run` is what it does, and an attribute holds what came of it."""

    error: Exception | None = None

    def run(self) -> None:
        try:
            fail()
        except ValueError as error:
            self.error = error

    def result(self) -> None:
        self.join()
        if self.error is not None:
            raise self.error  # in the thread that asks


def errors(line: Timeline) -> None:
    # What a thread raises ends up in this hook. Python's own prints a traceback; this one prints a line.
    threading.excepthook = lambda args: line.say(f"is ended by {args.exc_type.__name__}: {args.exc_value}")
    thread = threading.Thread(target=fail, name="by target")
    thread.start()
    thread.join()
    line.say("join() returned as always: nothing here tells of the error")
    keeping = Failing(name="by subclass")
    keeping.start()
    try:
        keeping.result()
    except ValueError as error:
        line.say(f"result() raised the error here: {error}")


def run() -> None:
    line = Timeline()
    for topic in TOPICS:
        fetch(line, topic)
    line.show("One after the other")

    line = Timeline()
    threads = [threading.Thread(target=fetch, args=(line, topic), name=topic) for topic in TOPICS]
    for thread in threads:
        thread.start()
    line.say("has started three threads and goes on")
    with line.waiting("join"):
        for thread in threads:
            thread.join()
    line.say("has joined them: all three have ended")
    errors(line)
    line.show("A thread for each")


if __name__ == "__main__":
    main(run)
