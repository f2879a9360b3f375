"""The answers of `Control`: plain values that JSON can carry. Durations and ages are in seconds."""

from __future__ import annotations

from typing import Any, TypedDict


class Process(TypedDict):
    """A process of the server."""

    name: str
    """Empty for the only one."""
    pid: int
    generation: int
    state: str
    uptime: float
    active: int
    """How many connections it has open."""


class Endpoint(TypedDict):
    """What the server listens on."""

    endpoint: str
    waiting: int | None
    """How many peers wait in the kernel's queue; null where the kernel doesn't tell."""


class Limits(TypedDict):
    """What the server allows; 0 is no limit."""

    max_connections: int
    at_limit: str
    max_connections_per_host: int
    idle_timeout: float
    write_timeout: float
    handler_timeout: float
    max_lifetime: float
    drain_timeout: float


class FaultRules(TypedDict):
    """Which faults new connections meet."""

    rules: list[str]
    seed: int | None
    """Null without rules."""


class Durations(TypedDict):
    """How long connections were open that have ended since this is counted."""

    bounds: list[float]
    """The upper ends of the buckets; what is longer is in one more."""
    counts: list[int]
    sum: float


class Snapshot(TypedDict):
    """The whole server at one moment."""

    version: str
    handler: str
    mode: str
    state: str
    """`serving` or `draining`."""
    uptime: float
    processes: list[Process]
    endpoints: list[Endpoint]
    limits: Limits
    counters: dict[str, Any]
    """The fields of `Snapshot` in the library: `accepted == active + sum(closed)` holds."""
    durations: Durations
    faults: FaultRules
    log_level: str


class Row(TypedDict):
    """One connection."""

    id: str
    """Its number; with several processes that of the process comes first, as in `2.17`."""
    peer: str
    via: str | None
    """The address of the proxy that speaks for the peer."""
    endpoint: str
    process: str
    age: float
    idle: float
    """Since when nothing has moved, up to half a second late."""
    bytes_in: int
    bytes_out: int
    replies: int
    state: str
    thread: str | None
    """What serves it now; null where it waits without a thread."""
    tls: str | None
    """The version, such as `TLSv1.3`."""
    faults: list[str]
    """Those that it has met."""


class Connections(TypedDict):
    """Open connections."""

    total: int
    """How many are open."""
    matched: int
    """How many of these were asked for; not all of them need be listed."""
    connections: list[Row]


class Kernel(TypedDict):
    """What the kernel knows of a TCP connection (tcp(7), TCP_INFO); null where this kernel doesn't."""

    state: str
    unread: int
    """Bytes that wait for the server."""
    unsent: int
    """Bytes that the peer's kernel has not acknowledged."""
    window: int | None
    """How much the peer would take now."""
    rtt: float | None
    retransmits: int | None
    """Unanswered ones in a row, now."""


class Limit(TypedDict):
    """What will end a connection if it stays as it is."""

    name: str
    """The option."""
    ends_as: str
    within: float


class ConnectionDetails(TypedDict):
    """Everything about one connection."""

    connection: Row
    kernel: Kernel | None
    limits: list[Limit]
    """The nearest first."""
    why: list[str]
    stack: list[str]
    """Where the thread is that serves it, the innermost frame last; empty where no thread does."""


class Killed(TypedDict):
    """A connection that was ended."""

    killed: str


class Why(TypedDict):
    """Sentences."""

    sentences: list[str]


class Draining(TypedDict):
    """A drain has begun."""

    draining: int
    """How many connections were open."""


class Reloaded(TypedDict):
    """A reload is done."""

    changed: list[str]
    """The options whose values have changed."""


class Faults(TypedDict):
    """The faults that new connections meet, and those that have happened."""

    rules: list[str]
    seed: int | None
    counts: dict[str, int]


class LogLevel(TypedDict):
    """The least important level that is logged."""

    level: str


class Thread(TypedDict):
    """One thread."""

    name: str
    process: str
    daemon: bool
    doing: str
    connection: str | None
    since: float | None
    """For how long it has been at that, where that is known."""
    where: str | None
    """Such as `adder.py:31 in feed`."""


class Threads(TypedDict):
    """All threads."""

    threads: list[Thread]
