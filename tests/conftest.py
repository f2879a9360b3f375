"""What every test is held to: whatever it starts is gone when it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# On a busy machine an example takes as long as it takes; the time limit of the whole test is what finds a hang.
settings.register_profile("echoserver", deadline=None)
settings.load_profile("echoserver")

# A shell starts what it runs in the background with SIGINT ignored, and nohup(1) with SIGHUP. Every process that a test
# starts would inherit that, and what these signals do could not be tested there.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _open_sockets() -> set[str]:
    """Sockets of this process, by inode, so that a reused descriptor number can't hide a leak."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _children() -> set[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update((task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):  # a thread that was joined may linger in the listing
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_over() -> Iterator[None]:
    """Fail a test that leaves a thread, a socket or a child process behind."""
    linux = os.path.exists("/proc/self/fd")
    threads = set(threading.enumerate())
    sockets, children = (_open_sockets(), _children()) if linux else (set(), set())
    yield
    left_threads = [thread.name for thread in set(threading.enumerate()) - threads]
    assert not left_threads, f"threads left running: {left_threads}"
    if linux:
        assert not _open_sockets() - sockets, "sockets left open"
        assert not _children() - children, "child processes left running"
