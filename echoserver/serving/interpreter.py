"""What the command sets for the whole interpreter, so that it bears thousands of threads.

Only the command does so: in an embedding program these are the host's to set.
"""

from __future__ import annotations

import sys
import threading

STACK_BYTES = 4 * 1024 * 1024
"""The address space of each thread's stack; memory is taken only for the part that is used. By default it is whatever
`ulimit -s` says. Less than this would be enough for the threads, but not for every handler: with one mebibyte, nested
JSON from a peer overflows the stack of CPython 3.13 before the interpreter's own limit of recursion is met."""

_LONGEST_INTERVAL = 0.5
_THREADS_WITHOUT_HARM = 1000
_SECONDS_PER_THREAD = 50e-6
"""What a thread takes for its turn with the interpreter's lock, its wake-up included."""


_own_interval: float | None = None  # written once, by the main thread before any server starts


def take_charge_of_threads() -> None:
    """Set the stack size of all threads that start from now on, and have `fit_switch_interval` do what it says."""
    global _own_interval
    threading.stack_size(STACK_BYTES)
    _own_interval = sys.getswitchinterval()


def fit_switch_interval(threads: int) -> None:
    """Let that many threads wait for the interpreter's lock without keeping one another from it.

    A thread that has waited for the lock for a switch interval wakes up to ask for it. Where thousands wait, each for
    longer than that, their waking takes all the time there is, and the one whose turn it is waits behind them. So the
    interval grows with their number, to what it takes until each has had its turn: 0.4 seconds for 9,000 threads. With
    that many, a handler that computes keeps all others waiting for so long; with up to 1,000 nothing changes.

    Does nothing unless the command is in charge: called from an embedded server too.
    """
    if _own_interval is not None:
        grown = _own_interval + max(0, threads - _THREADS_WITHOUT_HARM) * _SECONDS_PER_THREAD
        sys.setswitchinterval(max(_own_interval, min(grown, _LONGEST_INTERVAL)))
