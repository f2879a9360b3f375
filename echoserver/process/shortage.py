"""Shortages at the start, as an error for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from echoserver.errors import EchoServerError


@contextmanager
def shortage_as_error() -> Iterator[None]:
    """Turn a lack of threads, or of the memory for one, into an `EchoServerError`."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        hint = "allow more processes (ulimit -u, --pids-limit) or more memory (ulimit -v)"
        raise EchoServerError(f"cannot start: {error}; {hint}") from error
    except MemoryError as error:
        raise EchoServerError(f"cannot start: {error or 'no memory'}; allow more memory, or fewer workers") from error
