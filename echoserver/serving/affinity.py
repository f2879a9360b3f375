"""Which cores the threads that accept and serve run on.

Under the interpreter's lock one thread runs Python at a time, and lets go of the lock for every system call. With a
second core, a thread that waits for the lock takes it there the moment it is free, and the first, back from its system
call, has to wait in its turn. Each message so costs two wake-ups of a thread on another core, which take longer than
the message itself; and the more threads there are, the surer it happens. On one core, the thread is back from its
system call before another has started, and goes on for as long as there is something to receive.

What gains from more cores is what is done without the lock: a handler that waits or computes in C, and the kernel's
copying of bulk data.
"""

from __future__ import annotations

import os
import sys

from echoserver.errors import ConfigError

# There is one lock in a process, so all its servers draw the same core; and drawn it is, or all processes of a machine
# would take the same. Not with `random`, which nothing else here needs loaded.
_LOT = int.from_bytes(os.urandom(4))


class Cores:
    """Where the threads of one server run, of the cores that the thread which makes this may use.

    Parameters
    ----------
    wanted:
        `one` core, `all`, or `auto`: one where that is faster, and all for a thread while it moves bulk data.
    lock_bound:
        Whether these threads do little else without the interpreter's lock, and so gain nothing from more cores.

    Raises
    ------
    ConfigError
        One core is asked for, and this platform lets no thread choose.

    """

    def __init__(self, wanted: str, *, lock_bound: bool) -> None:
        can_choose = hasattr(os, "sched_setaffinity")
        if wanted == "one" and not can_choose:
            raise ConfigError("one is refused: this platform lets no thread choose its core; must be all", key="cores")
        self._may_spread = wanted == "auto"
        self.core: int | None = None
        """The one that they share; `None` if each runs where the kernel puts it."""
        if can_choose and (wanted == "one" or (wanted == "auto" and lock_bound and _has_lock())):
            self._allowed = os.sched_getaffinity(0)
            self.core = sorted(self._allowed)[_LOT % len(self._allowed)]

    def share(self) -> None:
        """Have the calling thread, and those it starts, run on the shared core, if there is one."""
        if self.core is not None:
            _run_on({self.core})

    def spread(self) -> None:
        """Let the calling thread run on all cores while it moves bulk data, unless one is wanted for everything."""
        if self.core is not None and self._may_spread:
            _run_on(self._allowed)


def _run_on(cores: set[int]) -> None:
    try:
        os.sched_setaffinity(0, cores)
    except OSError:  # the core was taken from this process (cpuset(7)): the thread runs on those that are left
        pass


def _has_lock() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)  # since Python 3.13
    return enabled is None or bool(enabled())
