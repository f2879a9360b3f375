"""The name of a process, as ps(1) and top(1) show it."""

from __future__ import annotations

import os

# Of the fields of /proc/PID/stat, counted from the one behind the name in brackets (proc_pid_stat(5)).
_ARGUMENTS_START, _ARGUMENTS_END = 45, 46


def set_title(title: str) -> None:
    """Show this title in place of the process's arguments, where the system lets a process write there.

    Linux reads the arguments of a process from its own memory each time somebody asks. A title that is longer than the
    arguments were is cut off. Anywhere else nothing happens: the title is for people, and nothing depends on it.
    """
    try:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            # The last byte stays zero: with another value there, the kernel would read on into the environment.
            os.pwrite(memory, title.encode()[: end - start - 1].ljust(end - start, b"\0"), start)
        finally:
            os.close(memory)
    except (OSError, ValueError, IndexError):
        pass
