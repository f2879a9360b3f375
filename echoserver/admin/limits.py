"""What will end a connection if it stays as it is, and when."""

from __future__ import annotations

from time import monotonic

from echoserver.admin.answers import Limit
from echoserver.config import ServerConfig
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection

_SILENT = (ConnectionState.RECEIVING,)


def limits_of(connection: Connection, still: float, config: ServerConfig) -> list[Limit]:
    """Return the limits that a connection is under, the nearest first.

    Parameters
    ----------
    connection:
        An open connection.
    still:
        For how long nothing has moved.
    config:
        The limits.

    """
    state, opening = ConnectionState(connection.stats.state), connection.opening
    found: list[Limit] = []

    def add(name: str, reason: CloseReason, limit: float, since: float) -> None:
        if limit:
            found.append({"name": name, "ends_as": reason.value, "within": round(max(0.0, limit - since), 3)})

    if opening is not None:
        name = "handshake_timeout" if opening.late is CloseReason.HANDSHAKE else "proxy_timeout"
        found.append(
            {"name": name, "ends_as": opening.late.value, "within": round(max(0.0, opening.deadline - monotonic()), 3)}
        )
    elif state in _SILENT:
        add("idle_timeout", CloseReason.IDLE, config.idle_timeout, still)
    elif state is ConnectionState.SENDING:
        add("write_timeout", CloseReason.STALLED, config.write_timeout, still)
    elif state is ConnectionState.HANDLING:
        add("handler_timeout", CloseReason.KILLED, config.handler_timeout, still)
    add("max_lifetime", CloseReason.EXPIRED, config.max_lifetime, monotonic() - connection.opened_at)
    return sorted(found, key=lambda limit: limit["within"])
