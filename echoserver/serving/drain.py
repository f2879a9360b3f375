"""The drain: letting the open connections end when the server stops."""

from __future__ import annotations

from echoserver.clock import Deadline
from echoserver.observe.metrics import CloseReason
from echoserver.serving.registry import ConnectionRegistry

_GRACE_AFTER_CUT = 0.4


def drain(registry: ConnectionRegistry, deadline: Deadline, reason: CloseReason = CloseReason.DRAINED) -> list[str]:
    """Let the open connections answer what had arrived; past the deadline cut them.

    Parameters
    ----------
    registry:
        The open connections. No new ones are added any more.
    deadline:
        How long they may take.
    reason:
        Why they end.

    Returns
    -------
    list of str
        The connections that were cut, as `id peer`.

    """
    for connection in registry.live():
        connection.end(reason)
    if registry.wait_empty(deadline):
        return []
    late = [connection for connection in registry.live() if connection.end(CloseReason.CUT)]
    registry.wait_empty(Deadline(_GRACE_AFTER_CUT))
    # One that was cut while it ended of itself, or lingered, ended as it would have.
    cut = [connection for connection in late if connection.reason is CloseReason.CUT or not connection.closed]
    return [f"{connection.number} {connection.peer}" for connection in cut]
