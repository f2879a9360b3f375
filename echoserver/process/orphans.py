"""Reaping orphans, which is the duty of the first process of a container."""

from __future__ import annotations

import os

_ONLY_OF_THIS_THREAD = 0x20000000
"""`__WNOTHREAD` of Linux (wait(2)); the `os` module doesn't name it."""


def reap_orphans() -> None:
    """Reap all children of the main thread that have ended; called by the main thread of process 1, which starts none.

    The kernel gives orphans to process 1 as children of its main thread. A child that a handler starts belongs to the
    handler's own thread, and must not be reaped here: the handler's `subprocess` would lose its exit status. A child
    that outlives the thread that started it becomes the main thread's too, and is reaped as an orphan.
    """
    options = os.WEXITED | os.WNOHANG | _ONLY_OF_THIS_THREAD
    try:
        while os.waitid(os.P_ALL, 0, options) is not None:
            pass
    except ChildProcessError:  # none is left
        pass
