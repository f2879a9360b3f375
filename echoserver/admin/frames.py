"""Where threads are in their code, for people who ask."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import PurePath
from types import FrameType

_OURS = str(PurePath(__file__).parents[1])


def frames() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by its identity; empty where they can't be read.

    Without the interpreter lock a thread goes on running while its frames are read, which is not safe.
    """
    gil_enabled = getattr(sys, "_is_gil_enabled", None)
    if gil_enabled is not None and not gil_enabled():
        return {}
    return dict(sys._current_frames())


def stack(frame: FrameType | None) -> list[str]:
    """Return the lines of a stack, the innermost last, without the frames of the server itself."""
    if frame is None:
        return []
    lines = traceback.extract_stack(frame)
    theirs = [line for line in lines if not line.filename.startswith(_OURS)]
    return [f"{line.filename}:{line.lineno} in {line.name}" for line in theirs or lines]


def place(frame: FrameType | None) -> str | None:
    """Return where a thread is, such as `adder.py:31 in feed`: in a handler's own code if it is there."""
    if frame is None:
        return None
    lines = traceback.extract_stack(frame)
    theirs = [line for line in lines if not line.filename.startswith(_OURS) and "threading.py" not in line.filename]
    line = (theirs or list(lines))[-1]
    return f"{PurePath(line.filename).name}:{line.lineno} in {line.name}"


def names() -> dict[int, str]:
    """Return the name of each thread by its identity."""
    return {thread.ident: thread.name for thread in threading.enumerate() if thread.ident is not None}
