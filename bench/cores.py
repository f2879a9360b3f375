"""Which cores the server has, and which one the load generator."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """How the machine is shared. Every server gets the same cores.

    Attributes
    ----------
    server:
        The server's cores; empty where processes can't be pinned.
    generator:
        The load generator's.
    """

    server: frozenset[int] = frozenset()
    generator: frozenset[int] = frozenset()

    @property
    def about(self) -> str:
        """The sharing, in a few words."""
        if not self.server:
            return "not pinned"
        if self.server == self.generator:
            return "one core for the server and the load generator together"
        count = len(self.server)
        return f"{count} core{'s' if count > 1 else ''} for the server, another one for the load generator"


def share() -> Cores:
    """Give the load generator the last core that this process may use, and the server the others."""
    if sys.platform != "linux":
        return Cores()
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(allowed[:-1] or allowed), frozenset(allowed[-1:]))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Run the block on these cores, and with it the processes it starts, which stay there."""
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
