"""What the reasons for which a connection ends imply."""

from __future__ import annotations

from echoserver.observe.metrics import CloseReason

ABRUPT = frozenset({CloseReason.STALLED, CloseReason.CUT, CloseReason.KILLED, CloseReason.PROXY, CloseReason.HANDSHAKE})
"""Reasons with which another thread ends a connection at once, without answering what has arrived."""

LINGERING = frozenset(
    {
        CloseReason.IDLE,
        CloseReason.EXPIRED,
        CloseReason.DRAINED,
        CloseReason.HANDLER,
        CloseReason.FINISHED,
        CloseReason.FAULT,
    }
)
"""Reasons after which the peer may still be sending, though the server reads no more."""

BROKEN = frozenset({CloseReason.RESET, CloseReason.PROXY, CloseReason.HANDSHAKE})
"""What a connection also looks like that another thread has shut down."""

HARSHNESS = {
    CloseReason.IDLE: 0,
    CloseReason.EXPIRED: 0,
    CloseReason.DRAINED: 0,
    CloseReason.FAULT: 0,
    CloseReason.STALLED: 1,
    CloseReason.KILLED: 1,
    CloseReason.CUT: 2,
}
"""Which reason another thread may give to a connection that has already been asked to end; others are like these 0."""
