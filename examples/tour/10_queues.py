"""Chapter 10: queues. How do threads hand things over, in which order, and when is all of it done?

Three orders, and what becomes of equal priorities; a full queue and an empty one; a `join` that hangs because
one `task_done` is missing; and two ways to end the consumers: a stop sign, and `shutdown` from Python 3.13 on.
"""

import queue
import sys
import time

from crew import crew
from timeline import Timeline, main


def order_and_bounds(line: Timeline) -> None:
    def through(kind: type[queue.Queue], *items: object) -> list:
        passage = kind()
        for item in items:
            passage.put(item)
        return [passage.get() for _ in items]

    for kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue):
        line.say(f"{kind.__name__} of 2, 3, 1 gives {through(kind, 2, 3, 1)}")
    jobs = [{"name": "a"}, {"name": "b"}]
    try:
        through(queue.PriorityQueue, *[(7, job) for job in jobs])
    except TypeError as error:  # if the priorities are equal, it compares what comes after them
        line.say(f"equal priorities: {error}")
    numbered = through(queue.PriorityQueue, *[(7, serial, job) for serial, job in enumerate(jobs)])
    line.say(f"equal priorities with serial numbers: {[job['name'] for _, _, job in numbered]}")
    one = queue.Queue(maxsize=1)
    for action in (one.get_nowait, lambda: one.put("a"), lambda: one.put("b", timeout=0.2)):
        try:
            action()
        except (queue.Empty, queue.Full) as error:
            line.say(f"{type(error).__name__}: {one.qsize()} of {one.maxsize} places are taken")


def four_jobs(title: str, *, forget: str = "", shutdown: bool = False) -> None:
    line, jobs, stop_sign, ended = Timeline(), queue.Queue(), object(), queue.ShutDown if shutdown else ()
    for name in "abcd":
        jobs.put(name)

    def take() -> object:
        with line.waiting("for a job"):
            return jobs.get()

    def consume() -> None:
        try:
            while (job := take()) is not stop_sign:
                with line.doing(job):
                    time.sleep(0.1)
                if job != forget:
                    jobs.task_done()
            line.say("I got the stop sign and pass it on")
            jobs.put(stop_sign)
        except ended:
            line.say("I got ShutDown: nothing is left")

    with crew(consumer_1=consume, consumer_2=consume):
        with crew(joiner=jobs.join) as (joiner,), line.waiting("join()"):
            joiner.join(timeout=0.8)
            if joiner.is_alive():
                line.say(f"join() hangs: {jobs.unfinished_tasks} job is not done, but {jobs.qsize()} are queued")
                jobs.task_done()  # instead of the consumer that forgot it, so that this program ends
        line.say("join() has returned")
        jobs.shutdown() if shutdown else jobs.put(stop_sign)
    line.show(title)


def run() -> None:
    order_and_bounds(Timeline())
    four_jobs("One task_done is missing", forget="b")
    four_jobs("None is missing", shutdown=sys.version_info >= (3, 13))


if __name__ == "__main__":
    main(run)
