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

_THREADS_WITHOUT_HARM = 1000
_SECONDS_PER_THREAD = 50e-6
"""What a thread takes for its turn with the interpreter's lock, its wake-up included."""


def make_ready_for_threads(count: int) -> None:
    """Let that many threads wait for the interpreter's lock without keeping one another from it.

    A thread that has waited for the lock for a switch interval wakes up to ask for it. Where thousands wait, each for
    longer than that, their waking takes all the time there is, and the one whose turn it is waits behind them. So the
    interval grows with their number, to what it takes until each has had its turn: 0.4 seconds for 9,000 threads.
    Threads that move bytes don't feel it, since they let go of the lock at every system call; beside a handler that
    computes, the others wait longer.
    """
    threading.stack_size(STACK_BYTES)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval + max(0, count - _THREADS_WITHOUT_HARM) * _SECONDS_PER_THREAD)
