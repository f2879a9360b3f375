"""Start some threads and join them: what every chapter needs once it is about something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def crew(**jobs: Callable[[], None]) -> Iterator[list[threading.Thread]]:
    """Run each job in a thread of that name (`_` becomes `-`) during the `with` block, and join them all at its end."""
    threads = [threading.Thread(target=job, name=name.replace("_", "-")) for name, job in jobs.items()]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()


def run_all(**jobs: Callable[[], None]) -> None:
    """Run each job in a thread of that name, and wait until all have ended."""
    with crew(**jobs):
        pass
