"""What a connection waits for between two events."""

from __future__ import annotations

from enum import Enum, auto


class Interest(Enum):
    """What a connection waits for after an event."""

    READ = auto()
    WRITE = auto()
    PAUSE = auto()
    """The moment `resume_at`: its rate limit, or a fault, lets it do nothing before."""
    READ_UNTIL = auto()
    """Input, or the moment `resume_at`, at which a fault happens by itself."""
    WRITE_UNTIL = auto()
    """Room for output, or that moment."""
    NOTHING = auto()
    """It has ended: the connection's `reason` says how."""
