"""Which cores the threads that accept and serve run on.

With the global interpreter lock, one thread runs Python at a time, and releases the lock for every system call. On a
second core, a thread that waits for the lock takes it as soon as it is released, and the first thread, back from its
system call, has to wait in turn. Each message then costs two wake-ups of a thread on another core, which take longer
than the message itself; and the more threads there are, the more often this happens. On one core, the thread is back
from its system call before another has started, and continues for as long as there is something to receive.

Only what runs without the lock gains from more cores: a handler that waits or computes in C, and the kernel's copying
of bulk data.
"""

from __future__ import annotations

import os

from echoserver.errors import ConfigError
from echoserver.serving.interpreter import has_gil

# Differs between machines and containers, where process ids are often the same. It isn't drawn with `random`, which
# nothing else here needs.
_SALT = int.from_bytes(os.urandom(4))


class Affinity:
    """Where the threads of one server run, of the cores that the thread which makes this may use.

    All servers of a process draw the same core, since they share one lock.

    Parameters
    ----------
    wanted:
        `one` core, `all`, or `auto`: one where that is faster, but all for a thread while it moves bulk data.
    lock_bound:
        Whether these threads do little without the interpreter's lock, and therefore gain nothing from more cores.
    turn:
        Which of several processes that were forked from one this is: each draws the core after that of the one before.
        `None` where it is not known; then the process ID tells.

    Raises
    ------
    ConfigError
        `one` is wanted, but this platform doesn't let a thread choose its core.

    """

    def __init__(self, wanted: str, *, lock_bound: bool, turn: int | None = None) -> None:
        can_choose = hasattr(os, "sched_setaffinity")
        if wanted == "one" and not can_choose:
            raise ConfigError("one is refused: this platform lets no thread choose its core; must be all", key="cores")
        self._may_unpin = wanted == "auto"
        self.core: int | None = None
        """The core that the threads share; `None` if each runs where the kernel puts it."""
        if can_choose and (wanted == "one" or (wanted == "auto" and lock_bound and has_gil())):
            self._allowed = os.sched_getaffinity(0)
            # Drawn here and not at import, which a forked child would share with its parent.
            turn = os.getpid() if turn is None else turn
            self.core = sorted(self._allowed)[(_SALT + turn) % len(self._allowed)]

    def pin(self) -> None:
        """Have the calling thread, and those it starts, run on the shared core, if there is one."""
        if self.core is not None:
            _run_on({self.core})

    def unpin(self) -> None:
        """Let the calling thread run on all cores while it moves bulk data, unless `one` is wanted for everything."""
        if self.core is not None and self._may_unpin:
            _run_on(self._allowed)


def _run_on(cores: set[int]) -> None:
    try:
        os.sched_setaffinity(0, cores)
    except OSError:  # the core was taken from this process (cpuset(7)): the thread runs on those that are left
        pass
