"""The life of a connection: admitted, served, closing, final.

Every part of the server that a connection passes through gets this one object. The acceptor calls `admit`; whichever
thread has served a connection calls `begin_close`; and `finalise` is the one place where a connection ends.
"""

from __future__ import annotations

import socket
from importlib import import_module
from queue import SimpleQueue
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from echoserver.clock import Throttle
from echoserver.config import ServerConfig
from echoserver.handlers import HandlerFactory
from echoserver.net.listener import Listener
from echoserver.net.splice import PipePool
from echoserver.observe.connection_log import log_end, log_stuck
from echoserver.observe.histogram import Histogram
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason, ConnectionState, Metrics
from echoserver.observe.telling import report, tell
from echoserver.serving.admission import Lease, insist
from echoserver.serving.connection import Connection
from echoserver.serving.openings import Openings
from echoserver.serving.rate import TokenBucket
from echoserver.serving.session import Session

if TYPE_CHECKING:
    from echoserver.serving.faulty import Faults


class Mode(Protocol):
    """How connections get their threads: `ServingThreads` or `Workers`."""

    blocking: bool

    def assign(self, connection: Connection) -> None:
        """Have a thread serve a connection."""


class Recipe:
    """What new connections are made of.

    Parameters
    ----------
    factory:
        Makes their handlers.
    pipes:
        Where they borrow pipes for bulk data that the handler returns unchanged; `None` copies all of it.
    config:
        How each is served, how fast it may receive, what it goes through before its handler is made, and which faults
        it meets.
    metrics:
        Counts the faults.

    """

    def __init__(self, factory: HandlerFactory, pipes: PipePool | None, config: ServerConfig, metrics: Metrics) -> None:
        self.factory = factory
        self._pool = pipes
        self._pipes = pipes if factory.unchanged else None
        self._metrics = metrics
        self._rate, self._burst = config.rate_limit, config.rate_burst
        self.openings = Openings(config)
        """What each goes through before its handler is made."""
        self._mode = config.mode
        self.faults: Faults | None = None
        """What they meet on purpose; `None` for most servers, which load nothing of it."""
        plan = config.fault_plan()
        if plan is not None:
            self.faults = import_module("echoserver.serving.faulty").Faults(plan, metrics)

    def following(self, factory: HandlerFactory, config: ServerConfig) -> Recipe:
        """Return the recipe that another configuration asks for. The errors are those of making one."""
        return Recipe(factory, self._pool, config, self._metrics)

    def make(self, number: int, sock: socket.socket, address: object, listener: Listener, lease: Lease) -> Connection:
        """Return a new connection."""
        rate, bucket = self._rate, None
        if rate.count:
            burst = self._burst.count or rate.count
            bucket = TokenBucket(rate.count, burst, of_bytes=rate.of_bytes, now=monotonic())
        session = Session(self.factory, address)
        transport, opening = self.openings.begin(sock, listener.endpoint)
        connection = Connection(number, listener.name, transport, session, lease)
        connection.mode = self._mode
        connection.pipes, connection.bucket = self._pipes if transport.can_splice else None, bucket
        if opening is not None:
            connection.opening, connection.stats.state = opening, ConnectionState.OPENING
        if self.faults is not None:
            self.faults.apply(connection)
        return connection


class Lifecycle:
    """Begins and ends connections.

    Parameters
    ----------
    recipe:
        What connections are made of.
    metrics:
        Counts what is not the end of a connection: handlers that are stuck.
    log:
        Gets a line for each connection that has ended.

    """

    def __init__(self, recipe: Recipe, metrics: Metrics, log: Logger) -> None:
        self.recipe = recipe
        """What new connections are made of; replaced as a whole."""
        self._metrics = metrics
        self._log = log
        self.mode: Mode | None = None
        """Serves what is admitted; set before the acceptor starts."""
        self.lingering: SimpleQueue[Connection | None] = SimpleQueue()
        """Serving threads to the janitor: linger with this connection; `None` ends it."""
        self.durations: Histogram | None = None
        """How long connections were open, where somebody wants to know; set at most once."""
        self.over = Event()
        """Set when the server has stopped, or cannot go on."""
        self.failure: BaseException | None = None
        """What the server cannot go on after; written before `over` is set."""
        self._number = 0  # of the last connection; the acceptor thread's own
        self._warn_unserved = Throttle(1.0)  # likewise

    def use(self, recipe: Recipe) -> None:
        """Make connections of another recipe from now on. Those that are open stay as they are."""
        self.recipe = recipe
        self.announce()

    def announce(self) -> None:
        """Log what connections meet on purpose."""
        if self.recipe.faults is not None:
            self.recipe.faults.announce(self._log)

    # -- the acceptor thread

    def admit(self, sock: socket.socket, address: object, listener: Listener, lease: Lease) -> Connection | None:
        """Begin a connection: enter it everywhere and have it served.

        A peer that cannot be served is closed. That costs this peer only.

        Parameters
        ----------
        sock:
            The accepted socket.
        address:
            The address of the peer, as `accept` returned it.
        listener:
            What it has connected to.
        lease:
            The place that the connection gets.

        Returns
        -------
        Connection or None
            The connection, which may have ended by now; `None` where there was no memory for one.

        """
        assert self.mode is not None, "set before the acceptor starts"
        self._number += 1
        try:
            connection = self.recipe.make(self._number, sock, address, listener, lease)
            lease.enter(connection)
        except Exception as error:  # noqa: BLE001 - no memory, or a defect: the acceptor has to go on
            self._warn("cannot serve a connection", error)
            sock.close()
            lease.release()
            return None
        try:
            connection.transport.set_blocking(self.mode.blocking)
            self.mode.assign(connection)
        except OSError as error:  # the peer has reset it already
            connection.failed(CloseReason.RESET, error)
            self.finalise(connection)
        except Exception as error:  # noqa: BLE001 - the system starts no more threads, or as above
            self._warn("cannot serve a connection", error)
            connection.reason = CloseReason.KILLED
            self.finalise(connection)
        return connection

    def _warn(self, event: str, error: Exception) -> None:
        if self._warn_unserved.ready():
            tell(self._log.warning, event, reason=str(error) or type(error).__name__)

    # -- any thread

    def begin_close(self, connection: Connection) -> None:
        """Let go of a connection that has been served: close it, or linger where its peer may still be sending.

        Called by the owner, which must not touch the connection afterwards. Raises nothing.
        """
        try:
            if connection.start_lingering():
                self.lingering.put(connection)
                return
        except Exception:  # noqa: BLE001 - no memory: it is closed at once instead
            report()
        self.finalise(connection)

    def finalise(self, connection: Connection) -> None:
        """Close a connection, count it, log it, and release what it occupies. Raises nothing.

        The connection is counted and logged before it leaves the registry: a drain waits until the registry is empty
        and then prints the totals.
        """
        try:
            insist(connection.close)
        except Exception:  # noqa: BLE001 - as in `_end`
            report()
        self._end(connection)

    def abandon(self, connection: Connection) -> None:
        """Count and release a connection whose handler never came back, when the server has stopped without it.

        Its socket has been shut down. The thread that the handler keeps closes it, should the handler ever return.
        """
        connection.reason = CloseReason.CUT
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        try:
            if not insist(lambda: connection.lease.fold(connection.reason)):
                return
        except Exception:  # noqa: BLE001 - no memory to count with: the place is worth more than the count
            report()
        if self.durations is not None:
            self.durations.add(monotonic() - connection.opened_at)
        try:
            log_end(self._log, connection)
        except Exception:  # noqa: BLE001 - the log of an embedding program may raise; this thread serves others too
            report()
        try:
            insist(connection.forget)
        except Exception:  # noqa: BLE001 - as above
            report()
        try:
            insist(connection.lease.release)
        except Exception:  # noqa: BLE001 - as above
            report()

    def report_stuck(self, connection: Connection) -> None:
        """Count and log that a handler has kept its thread for too long; called by the janitor."""
        self._metrics.stuck()
        log_stuck(self._log, connection, self.recipe.factory.name)

    def fail(self, error: BaseException) -> None:
        """Have the server stop: a thread without which nothing is served has ended."""
        self.failure = error
        self.over.set()
        tell(self._log.error, "cannot go on serving", reason=repr(error))
