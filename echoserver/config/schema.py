"""Every option of the server, declared once: its default, its kind of value, and the texts that explain it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar, cast

from echoserver.config.rates import Amount, Rate
from echoserver.config.values import (
    AmountKind,
    Choice,
    Duration,
    HandlerName,
    Kind,
    Networks,
    Option,
    RateKind,
    Table,
    Text,
    Whole,
    shown,
)
from echoserver.errors import ConfigError
from echoserver.handlers import HandlerSpec

T = TypeVar("T")


def _option(default: T, kind: Kind[T], help: str, why: str) -> T:  # noqa: A002 - it is the help text
    made = Option(kind, help, why)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata={"option": made})
    return field(default=default, metadata={"option": made})


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How a server behaves. Durations are in seconds here, and 0 turns a limit off.

    `rate_limit`, `rate_burst` and `trusted` also accept the text that a file has, and hold the parsed value.

    Raises
    ------
    ConfigError
        A value is not allowed. The message names the option and what is allowed.

    """

    host: str = _option(
        "127.0.0.1",
        Text("HOST"),
        "Address or host name to listen on; a name stands for all of its addresses.",
        "Only this machine can reach the default address. 0.0.0.0 is all of IPv4, :: all of both families.",
    )
    port: int = _option(
        9000,
        Whole(0, 65535, "PORT"),
        "Port to listen on; 0 takes a free one.",
        "Ports from 1024 need no privilege. The log line `listening` shows the port in use.",
    )
    handler: HandlerSpec = _option(
        cast("HandlerSpec", "echo"),
        HandlerName(),
        "What produces the replies: echo, upper, an installed handler, or package.module:attribute.",
        "`echoserver handlers` lists the handlers that are available.",
    )
    handler_options: Mapping[str, Any] = _option(
        cast("Mapping[str, Any]", {}),
        Table(),
        "An option of the handler; can be given more than once.",
        "Each handler declares its own options and checks them.",
    )
    mode: str = _option(
        "threads",
        Choice("threads", "workers"),
        "How connections are served: each by a thread of its own, or all by a few worker threads.",
        "A thread per connection is the simplest to reason about; workers serve ten thousand mostly idle connections.",
    )
    workers: int = _option(
        0,
        Whole(0, 1000),
        "Number of worker threads in workers mode; 0 means 4 per core, and at least 8.",
        "A handler that needs a thread mostly waits, so there are more threads than cores.",
    )
    queue_size: int = _option(
        1024,
        Whole(1, 1_000_000),
        "How many connections may wait for a worker.",
        "When the queue is full, polling stops, and TCP flow control slows the peers down.",
    )
    queue_order: str = _option(
        "fifo",
        Choice("fifo", "lifo", "priority"),
        "Which waiting connection is served next: the oldest, the newest, or the one that has moved the fewest bytes.",
        "fifo is fair. lifo keeps most peers fast under overload and starves the others. priority favours light peers.",
    )
    dispatch: str = _option(
        "auto",
        Choice("auto", "inline", "queue"),
        "What calls the handler in workers mode: the poller (inline), a worker (queue), or whichever suits it (auto).",
        "Handing over to a worker costs more than a handler that never blocks. The other two exist for measurements.",
    )
    cores: str = _option(
        "auto",
        Choice("auto", "one", "all"),
        "Which cores the serving threads use; auto is one core, unless the handler may block.",
        "The interpreter lock lets one thread run at a time, so on several cores the threads mostly wake one another.",
    )
    handler_timeout: float = _option(
        30.0,
        Duration(),
        "Log and end a connection whose handler has kept its thread for this long.",
        "A thread can't be killed, but its peer can be released, and the log shows where the handler hangs.",
    )
    max_connections: int = _option(
        1024,
        Whole(1, 1_000_000),
        "How many connections may be open at the same time.",
        "Each needs a file descriptor, which the process limit must allow, and in threads mode a thread.",
    )
    at_limit: str = _option(
        "wait",
        Choice("wait", "reject"),
        "At the connection limit: leave new peers in the kernel's queue, or accept and close them at once.",
        "Waiting loses no peer in a short burst; rejecting lets a load balancer react immediately.",
    )
    max_connections_per_host: int = _option(
        0,
        Whole(0, 1_000_000),
        "How many connections one host may have open; further ones are closed at once. 0 is off.",
        "Keeps one host from using all connections. Off, because all users behind a router or proxy are one host.",
    )
    trusted: tuple[IPv4Network | IPv6Network, ...] = _option(
        cast("tuple[IPv4Network | IPv6Network, ...]", ()),
        Networks(),
        "Address or network that is exempt from the limit per host; can be given more than once.",
        "A load balancer is one host that carries the connections of many.",
    )
    idle_timeout: float = _option(
        600.0,
        Duration(),
        "End a connection on which nothing has moved for this long.",
        "Frees the slot of a peer that has vanished. Ten minutes is longer than firewalls usually keep a connection.",
    )
    max_lifetime: float = _option(
        0.0,
        Duration(),
        "End a connection that has been open for this long, after replying to what has arrived.",
        "A peer that sends a byte now and then is never idle. Off, because long connections can be legitimate.",
    )
    write_timeout: float = _option(
        30.0,
        Duration(),
        "End a connection whose peer has accepted none of its reply for this long.",
        "A peer that never reads must not hold a slot and a reply forever.",
    )
    rate_limit: Rate = _option(
        Rate(0, of_bytes=False),
        RateKind(),
        "How much a connection may send per second, in messages (100/s) or bytes (64kB/s); the excess waits.",
        "TCP flow control slows a greedy peer down without loss. A message is whatever one receive returns.",
    )
    rate_burst: Amount = _option(
        Amount(0, of_bytes=False),
        AmountKind(),
        "How much may arrive at once, in the unit of rate_limit; 0 is the amount of one second.",
        "Normal traffic comes in bursts; only a sustained excess is delayed.",
    )
    drain_timeout: float = _option(
        30.0,
        Duration(),
        "How long a stopping server waits for connections to get their replies; 0 is no limit.",
        "Must be shorter than the grace period of a container, or the engine kills the server first.",
    )
    backlog: int = _option(
        4096,
        Whole(1, 65535),
        "How many connections the kernel queues until they are accepted.",
        "Absorbs a burst of new connections; a peer beyond that waits a second or more before it tries again. "
        "The kernel silently caps it at net.core.somaxconn.",
    )
    log_level: str = _option(
        "info",
        Choice("debug", "info", "warning", "error"),
        "The lowest level of log lines to print.",
        "debug includes connections that send nothing, such as health probes.",
    )
    log_format: str = _option(
        "auto",
        Choice("auto", "console", "json"),
        "Format of log lines; auto is console on a terminal and JSON elsewhere.",
        "A log that doesn't go to a terminal is usually read by programs.",
    )
    stats_interval: float = _option(
        0.0,
        Duration(),
        "How often to log the counters; 0 is off.",
        "Off, because SIGUSR1 logs them on demand and the last log line always includes them.",
    )

    def __post_init__(self) -> None:
        for name, option in options():
            value = getattr(self, name)
            try:
                checked = option.kind.check(value)
            except ValueError as error:
                raise ConfigError(f"{shown(value)} is refused: must be {error}", key=name) from None
            # The only assignment to a frozen config: it stores 30 as 30.0, a text parsed, and a table copied, so that
            # nothing else can change it.
            object.__setattr__(self, name, checked)
        rate, burst = self.rate_limit, self.rate_burst
        if rate.count and burst.count and rate.of_bytes != burst.of_bytes:
            unit = "bytes, such as 64kB" if rate.of_bytes else "messages, such as 100"
            problem = f"{str(burst)!r} is refused: must be {unit}, since rate_limit is {rate}"
            raise ConfigError(problem, key="rate_burst")


def options() -> Iterator[tuple[str, Option[Any]]]:
    """Yield the name and the declaration of every option, in the order in which they are shown."""
    for entry in dataclasses.fields(ServerConfig):
        yield entry.name, entry.metadata["option"]


def default_of(name: str) -> object:
    """Return the default of an option."""
    return getattr(ServerConfig(), name)
