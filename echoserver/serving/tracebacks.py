"""Keeping the traceback of an exception without what its frames hold."""

from __future__ import annotations

import traceback
from types import TracebackType


def clear_frames(error: BaseException) -> None:
    """Clear the frames of an exception and of those it came from; what they say of lines and names stays."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop()
        if id(current) not in seen:
            seen.add(id(current))
            traceback.clear_frames(current.__traceback__)
            _clear_callers(current.__traceback__)
            pending += [chained for chained in (current.__cause__, current.__context__) if chained is not None]
            pending += current.exceptions if isinstance(current, BaseExceptionGroup) else ()


def _clear_callers(trace: TracebackType | None) -> None:
    """Clear the frames above a traceback that have returned: a frame keeps those, and they keep what was received."""
    frame = None if trace is None else trace.tb_frame.f_back
    try:
        while frame is not None:
            frame.clear()
            frame = frame.f_back
    except RuntimeError:  # this one is still running, and so are those above it
        pass
