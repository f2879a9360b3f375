"""The solution of chapter 5: would threads help? They do as far as the work waits."""

import time
from collections.abc import Callable


def share_of_waiting(work: Callable[[], object]) -> float:
    """Do the work, and return which part of its time this thread used no processor, from 0 to 1."""
    began, used = time.perf_counter(), time.thread_time()
    work()
    took, used = time.perf_counter() - began, time.thread_time() - used
    return max(0.0, 1 - used / took)
