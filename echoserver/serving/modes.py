"""The two modes, and what decides how one is set up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Thread
from typing import Protocol

from echoserver.clock import Deadline
from echoserver.config import ServerConfig
from echoserver.errors import ConfigError
from echoserver.handlers import HandlerFactory
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import WorkerSnapshot
from echoserver.serving.accepting import Accepting, AcceptorThread
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Admission
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.pulse import Beating
from echoserver.serving.threads import ServingThreads
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.pool import Workers
from echoserver.serving.workers.ready import ReadyQueue

_LEAST_WORKERS, _WORKERS_PER_CORE = 8, 4


class Mode(Protocol):
    """How connections get their threads: `ServingThreads` or `Workers`."""

    blocking: bool

    def start(self) -> None:
        """Start the threads that are needed from the start."""

    def assign(self, connection: Connection) -> None:
        """Have a thread serve a connection."""

    def serves_in(self, thread: Thread) -> bool:
        """Return whether handlers are called in this thread."""

    @property
    def worker_count(self) -> int:
        """How many worker threads there are to be."""

    @property
    def beating(self) -> Sequence[Beating]:
        """The threads that all connections depend on."""

    def maintain(self) -> None:
        """Put the threads in order; called a few times a second."""

    def counts(self) -> WorkerSnapshot | None:
        """Return the counters of the mode."""

    def stop(self, deadline: Deadline) -> list[Thread]:
        """End the threads, and return those still alive at the deadline."""


def serves_inline(config: ServerConfig, factory: HandlerFactory) -> bool:
    """Return whether the poller calls the handler.

    Raises
    ------
    ConfigError
        It is told to, and the handler may block.

    """
    if config.mode != "workers" or config.dispatch == "queue":
        return False
    if config.dispatch == "inline" and factory.blocking:
        problem = (
            f"inline is refused: the handler {factory.name} may block, and would hold up all peers; "
            "must be auto or queue"
        )
        raise ConfigError(problem, key="dispatch")
    return not factory.blocking


def make_mode(config: ServerConfig, lifecycle: Lifecycle, affinity: Affinity, log: Logger, *, inline: bool) -> Mode:
    """Return the mode that the configuration asks for; `inline` is what `serves_inline` says."""
    if config.mode == "threads":
        return ServingThreads(lifecycle, affinity)
    ready = ReadyQueue(config.queue_order, config.queue_size, log)
    poller = Poller(None if inline else ready, lifecycle=lifecycle, affinity=affinity)
    count = config.workers or max(_LEAST_WORKERS, _WORKERS_PER_CORE * (os.cpu_count() or 1))
    return Workers(poller, ready, count=0 if inline else count, affinity=affinity, log=log)


def make_accepting(
    mode: Mode, acceptor: Acceptor, admission: Admission, lifecycle: Lifecycle, affinity: Affinity
) -> Accepting:
    """Return what runs the acceptor: the poller if it serves connections itself, or else a thread of its own."""
    if isinstance(mode, Workers) and mode.inline:
        return mode.accept_with(acceptor, admission, lifecycle)
    return AcceptorThread(acceptor, admission, lifecycle, affinity)
