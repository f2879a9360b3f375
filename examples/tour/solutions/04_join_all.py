"""The solution of chapter 4: join many threads against one deadline."""

import threading
import time
from collections.abc import Iterable


def join_all(threads: Iterable[threading.Thread], seconds: float) -> list[threading.Thread]:
    """Join the threads, which together may take so many seconds, and return those that still run."""
    deadline = time.monotonic() + seconds
    threads = list(threads)
    for thread in threads:
        # A limit for each would add up: with ten stuck threads it would take ten times as long.
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in threads if thread.is_alive()]
