"""The processor time of other processes, as the kernel counts it."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def tree_of(pid: int) -> list[int]:
    """Return a process and all that descend from it (proc_pid_task(5)); the process alone without /proc."""
    found = [pid]
    for process in found:  # grows while we go through it
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended, or there is no /proc
            continue
    return found


def cpu_seconds(pids: Sequence[int]) -> float | None:
    """Return how long the processes have run so far, ended threads included; `None` where the system does not tell.

    The clock of a process counts nanoseconds (clock_getcpuclockid(3)), and /proc/PID/stat only ticks of 10 ms.
    """
    if sys.platform != "linux":
        return None
    total = 0
    for pid in pids:
        clock = ctypes.c_int()
        if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)) == 0:
            total += time.clock_gettime_ns(clock.value)
    return total / 1e9
