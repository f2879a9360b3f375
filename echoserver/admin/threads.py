"""The threads of the process, and what each is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from echoserver.admin.answers import Thread
from echoserver.admin.frames import frames, names, place
from echoserver.admin.rows import has_thread
from echoserver.observe.metrics import ConnectionState
from echoserver.serving.connection import Connection

_DOING = {
    "MainThread": "waits for signals",
    "acceptor": "waits for peers",
    "poller": "waits for events of all connections",
    "worker-": "waits for a connection that is ready",
    "conn-": "waits for a new connection",
    "janitor": "looks at the limits of all connections",
    "log-writer": "writes the log",
    "watch": "waits for a failure of the server",
    "drain": "waits until it is time to drain",
    "admin": "serves the admin endpoint",
}


def threads_of(connections: Iterable[Connection], still: Callable[[Connection], float]) -> list[Thread]:
    """Return all threads by name.

    Parameters
    ----------
    connections:
        The open connections, some of which threads serve.
    still:
        Returns for how long nothing has moved on a connection.

    """
    where = frames()
    serving = {connection.served_by: connection for connection in connections if has_thread(connection)}
    found: list[Thread] = []
    for thread in threading.enumerate():
        connection = serving.get(thread.ident or 0)
        found.append(
            {
                "name": thread.name,
                "process": "",
                "daemon": thread.daemon,
                "doing": _doing(thread.name, connection),
                "connection": None if connection is None else str(connection.number),
                "since": None if connection is None else round(still(connection), 3),
                "where": place(where.get(thread.ident or 0)),
            }
        )
    return sorted(found, key=lambda thread: thread["name"])


def places_by_thread() -> dict[str, str]:
    """Return where each thread is, by its name."""
    where = frames()
    return {name: found for identity, name in names().items() if (found := place(where.get(identity))) is not None}


def _doing(name: str, connection: Connection | None) -> str:
    if connection is not None:
        return f"{ConnectionState(connection.stats.state).name.lower()} for {connection.peer}"
    return next((doing for start, doing in _DOING.items() if name.startswith(start)), "is not one of the server's")
