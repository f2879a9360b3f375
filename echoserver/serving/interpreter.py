"""What the command sets for the whole interpreter, so that it can run thousands of threads.

Only the command sets it: in an embedding program this is for the host to decide.
"""

from __future__ import annotations

import sys
import threading

STACK_BYTES = 4 * 1024 * 1024
"""The address space of each thread's stack, of which only the part in use takes up memory; the default is `ulimit -s`.

Our own threads need less, but not every handler does: with one mebibyte, nested JSON from a peer overflows the stack of
CPython 3.13 before the interpreter's recursion limit is reached.
"""

_LONGEST_INTERVAL = 0.5
_THREADS_WITHOUT_HARM = 1000
_SECONDS_PER_THREAD = 50e-6
"""How long a thread holds the interpreter's lock to answer a message, its wake-up included."""

_own_interval: float | None = None  # written once, by the main thread before any server starts


def take_charge_of_threads() -> None:
    """Set the stack size of all threads started from now on, and let `fit_switch_interval` take effect."""
    global _own_interval
    threading.stack_size(STACK_BYTES)
    _own_interval = sys.getswitchinterval()


def fit_switch_interval(threads: int) -> None:
    """Set the switch interval for this many threads that wait for the interpreter's lock.

    A thread that has waited for the lock for a switch interval wakes up to ask for it. Where thousands wait longer than
    that, their wake-ups take all the time there is, and the thread whose turn it is waits behind them. Therefore the
    interval grows with their number, to the time in which each has its turn: 0.4 seconds for 9,000 threads. A handler
    that computes can then keep all others waiting for as long; with up to 1,000 threads nothing changes.

    Does nothing unless `take_charge_of_threads` was called: an embedded server calls this too.
    """
    if _own_interval is not None:
        grown = _own_interval + max(0, threads - _THREADS_WITHOUT_HARM) * _SECONDS_PER_THREAD
        sys.setswitchinterval(max(_own_interval, min(grown, _LONGEST_INTERVAL)))


def has_gil() -> bool:
    """Return whether one thread at a time runs Python: false on a free-threaded interpreter, unless it was told so."""
    enabled = getattr(sys, "_is_gil_enabled", None)  # since Python 3.13
    return enabled is None or bool(enabled())
