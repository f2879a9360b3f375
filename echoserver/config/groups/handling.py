"""What produces the replies, and which threads do so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from echoserver.config.declaring import option
from echoserver.config.values import Choice, Duration, HandlerName, Table, Whole
from echoserver.handlers import HandlerSpec


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Handling:
    """The options of this group. See `ServerConfig`."""

    handler: HandlerSpec = option(
        cast("HandlerSpec", "echo"),
        HandlerName(),
        "What produces the replies: a built-in handler such as echo, an installed one, or package.module:attribute.",
        "`echoserver handlers` lists the handlers that are available.",
    )
    handler_options: Mapping[str, Any] = option(
        cast("Mapping[str, Any]", {}),
        Table(),
        "An option of the handler; can be given more than once.",
        "Each handler declares its own options and checks them.",
    )
    mode: str = option(
        "threads",
        Choice("threads", "workers"),
        "How connections are served: each by a thread of its own, or all by a few worker threads.",
        "A thread per connection is the simplest to reason about; workers serve ten thousand mostly idle connections.",
        fixed=True,
    )
    workers: int = option(
        0,
        Whole(0, 1000),
        "Number of worker threads in workers mode; 0 means 4 per core, and at least 8.",
        "A handler that needs a thread mostly waits, so there are more threads than cores.",
        fixed=True,
    )
    queue_size: int = option(
        1024,
        Whole(1, 1_000_000),
        "How many connections may wait for a worker.",
        "When the queue is full, polling stops, and TCP flow control slows the peers down.",
        fixed=True,
    )
    queue_order: str = option(
        "fifo",
        Choice("fifo", "lifo", "priority"),
        "Which waiting connection is served next: the oldest, the newest, or the one that has moved the fewest bytes.",
        "fifo is fair. lifo keeps most peers fast under overload and starves the others. priority favours light peers.",
        fixed=True,
    )
    dispatch: str = option(
        "auto",
        Choice("auto", "inline", "queue"),
        "What calls the handler in workers mode: the poller (inline), a worker (queue), or whichever suits it (auto).",
        "Handing over to a worker costs more than a handler that never blocks. The other two exist for measurements.",
        fixed=True,
    )
    cores: str = option(
        "auto",
        Choice("auto", "one", "all"),
        "Which cores the serving threads use; auto is one core, unless the handler may block.",
        "The interpreter lock lets one thread run at a time, so on several cores the threads mostly wake one another.",
        fixed=True,
    )
    handler_timeout: float = option(
        30.0,
        Duration(),
        "Log and end a connection whose handler has kept its thread for this long.",
        "A thread can't be killed, but its peer can be released, and the log shows where the handler hangs.",
    )
