"""What each thread of a process does, sampled from the kernel's accounting (proc(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# What the kernel function that a thread sleeps in says of its wait (the file `wchan`), in this order.
_WAITS = (
    ("futex", "lock"),
    ("epoll", "poll"),
    ("nanosleep", "sleep"),
    ("wait_woken", "socket"),  # tcp_recvmsg
    ("wait_data", "socket"),
    ("poll", "poll"),
)


@dataclass
class Track:
    """One thread over time.

    Attributes
    ----------
    name:
        Its name.
    busy:
        In each interval the share of it that the thread ran, from 0 to 1.
    waits:
        At the end of each interval what it waited for: `lock`, `poll`, `sleep`, `socket`, `core`, or nothing known.

    """

    name: str
    busy: list[float] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def watch(pid: int, names: Mapping[int, str], intervals: int, seconds: float) -> list[Track]:
    """Sample the threads of a process.

    Parameters
    ----------
    pid:
        The process.
    names:
        The names of its threads by their IDs in the system. Others are left out.
    intervals:
        How many intervals to sample.
    seconds:
        How long each is.

    Returns
    -------
    list of Track
        The threads that lived from the first sample to the last, in the order of `names`.

    """
    tracks = {thread: Track(name) for thread, name in names.items()}
    before = {thread: _run_seconds(pid, thread) for thread in tracks}
    due = last = time.monotonic()
    for _ in range(intervals):
        due += seconds
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        for thread, track in list(tracks.items()):
            ran, earlier = _run_seconds(pid, thread), before[thread]
            if ran is None or earlier is None:
                del tracks[thread]
                continue
            track.busy.append(min(1.0, (ran - earlier) / (now - last)))
            track.waits.append(_wait(pid, thread))
            before[thread] = ran
        last = now
    return list(tracks.values())


def _run_seconds(pid: int, thread: int) -> float | None:
    try:
        return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9
    except OSError:  # it has ended
        return None


def _wait(pid: int, thread: int) -> str:
    """Return what a thread waits for. One that can run waits for a core, unless it is running."""
    task = Path(f"/proc/{pid}/task/{thread}")
    try:
        function = (task / "wchan").read_text()
        if function != "0":
            return next((wait for text, wait in _WAITS if text in function), "")
        return "core" if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R" else ""
    except OSError:  # it has ended, or the system does not say
        return ""
