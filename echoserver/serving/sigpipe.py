"""SIGPIPE, which must not end a program that serves connections."""

from __future__ import annotations

import signal


def hold_back_sigpipe() -> None:
    """Block SIGPIPE in this thread, which is about to serve: a peer that is gone is an error of its connection only.

    Python ignores the signal, but a program that writes to pipes may have restored its default, and then a send to a
    connection that was shut down would end the process (signal(7), pthread_sigmask(3)). What a handler starts inherits
    the mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
