"""Keeping the traceback of an exception without what its frames hold."""

from __future__ import annotations

import traceback


def clear_frames(error: BaseException) -> None:
    """Clear the frames of an exception and of those it came from; what they say of lines and names stays."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop()
        if id(current) not in seen:
            seen.add(id(current))
            traceback.clear_frames(current.__traceback__)
            pending += [chained for chained in (current.__cause__, current.__context__) if chained is not None]
            pending += current.exceptions if isinstance(current, BaseExceptionGroup) else ()
