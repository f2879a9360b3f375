"""The solution of chapter 10: `Queue.join` with a time limit."""

import queue
from typing import Any


def join_within(jobs: "queue.Queue[Any]", seconds: float) -> bool:
    """Wait until every job is done; return whether that was within so many seconds."""
    # What `join` does, with a limit. The two attributes are not documented, but `Queue` has always had them.
    with jobs.all_tasks_done:
        return jobs.all_tasks_done.wait_for(lambda: not jobs.unfinished_tasks, seconds)
