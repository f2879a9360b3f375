"""The open descriptors of this process, for tests that nothing is left open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")


def descriptors() -> dict[str, str]:
    """Return the open descriptors of this process, of every kind, and what each stands for."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[link.name] = os.readlink(link)
        except OSError:  # the descriptor of the listing itself
            continue
    return found
