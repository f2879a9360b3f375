"""Open connections as rows of a table, and which of them were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

from echoserver.admin.answers import Connections, Row
from echoserver.admin.control import Query
from echoserver.observe.metrics import ConnectionState
from echoserver.serving.connection import Connection

# In these a thread has the connection; in the others nobody does, in workers mode.
_WITH_THREAD = (ConnectionState.HANDLING, ConnectionState.SENDING)


def row_of(connection: Connection, still: float, threads: dict[int, str]) -> Row:
    """Return the row of a connection.

    Parameters
    ----------
    connection:
        An open connection, which may end meanwhile.
    still:
        For how long nothing has moved.
    threads:
        The names of all threads.

    """
    stats, facts = connection.stats, connection.transport.log_facts
    state = ConnectionState(stats.state)
    tls = connection.tls
    return {
        "id": str(connection.number),
        "peer": connection.peer,
        "via": connection.proxied_by,
        "endpoint": connection.endpoint,
        "process": "",
        "age": round(monotonic() - connection.opened_at, 3),
        "idle": round(still, 3),
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "replies": stats.replies,
        "state": state.name.lower(),
        "thread": threads.get(connection.served_by) if has_thread(connection) else None,
        "tls": None if tls is None else tls.version,
        "faults": [str(fault) for fault in _listed(facts.get("faults"))],
    }


def has_thread(connection: Connection) -> bool:
    """Return whether a thread serves a connection now, rather than that it waits without one."""
    return connection.mode == "threads" or connection.stats.state in _WITH_THREAD


def select(rows: Iterable[Row], query: Query) -> Connections:
    """Return the rows that were asked for, in the order that was asked for."""
    rows = list(rows)
    matched = [
        row
        for row in rows
        if query.peer in row["peer"]
        and query.endpoint in row["endpoint"]
        and query.process in row["process"]
        and query.state in ("", row["state"])
    ]
    matched.sort(key=_key(query.sort.removeprefix("-")), reverse=query.sort.startswith("-"))
    return {"total": len(rows), "matched": len(matched), "connections": matched[: query.limit]}


def _key(name: str) -> Callable[[Row], tuple[int, ...] | str | float]:
    if name == "id":
        return lambda row: tuple(int(part) for part in row["id"].split("."))
    return lambda row: row[name] or ""  # type: ignore[literal-required]


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
