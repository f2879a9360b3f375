"""The solution of chapter 2: which threads a piece of code left running."""

import threading
from collections.abc import Callable


def left_over(code: Callable[[], None]) -> list[str]:
    """Call the code, and return the names of the threads that run after it and did not before."""
    before = set(threading.enumerate())
    code()
    # The threads are compared and not their names: two threads may have the same name.
    return sorted(thread.name for thread in set(threading.enumerate()) - before)
