"""How many connections there may be, how long they may last, and how much they may send."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import cast

from echoserver.config.addresses import Networks
from echoserver.config.declaring import option
from echoserver.config.values import AmountKind, Choice, Duration, RateKind, Whole
from echoserver.rates import Amount, Rate


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Limiting:
    """The options of this group. See `ServerConfig`."""

    max_connections: int = option(
        1024,
        Whole(1, 1_000_000),
        "How many connections may be open at the same time.",
        "Each needs a file descriptor, which the process limit must allow, and in threads mode a thread.",
    )
    at_limit: str = option(
        "wait",
        Choice("wait", "reject"),
        "At the connection limit: leave new peers in the kernel's queue, or accept and close them at once.",
        "Waiting loses no peer in a short burst; rejecting lets a load balancer react immediately.",
    )
    max_connections_per_host: int = option(
        0,
        Whole(0, 1_000_000),
        "How many connections one host may have open; further ones are closed at once. 0 is off.",
        "Keeps one host from using all connections. Off, because all users behind a router or proxy are one host.",
    )
    trusted: tuple[IPv4Network | IPv6Network, ...] = option(
        cast("tuple[IPv4Network | IPv6Network, ...]", ()),
        Networks(),
        "Address or network that is exempt from the limit per host; can be given more than once.",
        "A load balancer is one host that carries the connections of many.",
    )
    idle_timeout: float = option(
        600.0,
        Duration(),
        "End a connection on which nothing has moved for this long.",
        "Frees the slot of a peer that has vanished. Ten minutes is longer than firewalls usually keep a connection.",
    )
    max_lifetime: float = option(
        0.0,
        Duration(),
        "End a connection that has been open for this long, after replying to what has arrived.",
        "A peer that sends a byte now and then is never idle. Off, because long connections can be legitimate.",
    )
    write_timeout: float = option(
        30.0,
        Duration(),
        "End a connection whose peer has accepted none of its reply for this long.",
        "A peer that never reads must not hold a slot and a reply forever.",
    )
    rate_limit: Rate = option(
        Rate(0, of_bytes=False),
        RateKind(),
        "How much a connection may send per second, in messages (100/s) or bytes (64kB/s); the excess waits.",
        "TCP flow control slows a greedy peer down without loss. A message is whatever one receive returns.",
    )
    rate_burst: Amount = option(
        Amount(0, of_bytes=False),
        AmountKind(),
        "How much may arrive at once, in the unit of rate_limit; 0 is the amount of one second.",
        "Normal traffic comes in bursts; only a sustained excess is delayed.",
    )
    drain_timeout: float = option(
        30.0,
        Duration(),
        "How long a stopping server waits for connections to get their replies; 0 is no limit.",
        "Must be shorter than the grace period of a container, or the engine kills the server first.",
    )
    backlog: int = option(
        4096,
        Whole(1, 65535),
        "How many connections the kernel queues until they are accepted.",
        "Absorbs a burst of new connections; a peer beyond that waits a second or more before it tries again. "
        "The kernel silently caps it at net.core.somaxconn.",
        fixed=True,
    )
