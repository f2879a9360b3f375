"""The server: its life from start to drain. Here the rooms come together.

A connection's way: the acceptor takes a slot and accepts, `_admit` enters the connection everywhere and gives it to a
serving thread, `_settle` lets go of it when it has been served, and `_finish` closes it and gives everything back.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from threading import Event, ExceptHookArgs, RLock, Thread, current_thread, excepthook
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from structlog.typing import FilteringBoundLogger

from echoserver.clock import Deadline, Throttle
from echoserver.config import ServerConfig
from echoserver.errors import BindError, ConfigError
from echoserver.handlers import find_handler
from echoserver.net.listener import Address, listen, show_address
from echoserver.net.splice import PipePool, can_splice
from echoserver.observe.connection_log import tell_end, tell_stuck
from echoserver.observe.logs import library_logger
from echoserver.observe.metrics import CloseReason, Metrics, Snapshot, WorkerSnapshot
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.affinity import Cores
from echoserver.serving.connection import Connection
from echoserver.serving.janitor import Janitor, Limits
from echoserver.serving.rate import TokenBucket
from echoserver.serving.registry import ConnectionRegistry
from echoserver.serving.threads import ServingThreads
from echoserver.serving.workers.pool import Workers

_ACCEPTED_BLOCKING = sys.platform == "linux"
_GRACE_AFTER_CUT = 0.4
_GRACE_WHEN_STUCK = 0.2
_GRACE_AFTER_DRAIN = 5.0
_LEAST_WORKERS, _WORKERS_PER_CORE = 8, 4


class _Mode(Protocol):
    """How connections get their threads: `ServingThreads` or `Workers`."""

    @property
    def connection(self) -> type[Connection]: ...
    @property
    def blocking(self) -> bool: ...
    def start(self) -> None: ...
    def assign(self, connection: Connection) -> None: ...
    def serves_in(self, thread: Thread) -> bool: ...
    def tend(self) -> None: ...
    def counts(self) -> WorkerSnapshot | None: ...
    def stop(self, deadline: Deadline) -> list[Thread]: ...


class Server:
    """A TCP server that gives each connection's bytes to a handler and sends back what it returns.

    Use it as a context manager, or call `start` and `stop`. All methods may be called from any thread.

    Parameters
    ----------
    config:
        How it behaves.
    log:
        A structlog logger; by default everything goes to the standard library's logger `echoserver`.

    Raises
    ------
    ConfigError
        The handler can't be found or refuses its options.

    """

    def __init__(self, config: ServerConfig | None = None, *, log: FilteringBoundLogger | None = None) -> None:
        self.config = config or ServerConfig()
        self._log = log or library_logger()
        self._factory = find_handler(self.config.handler, self.config.handler_options)
        self._metrics = Metrics()
        self._registry = ConnectionRegistry()
        self._rate, self._burst = self.config.rate_limit, self.config.rate_burst
        self._pipes = PipePool() if self._factory.unchanged and can_splice() else None
        inline = self._serves_inline()
        self._cores = Cores(self.config.cores, lock_bound=not self._factory.blocking and not inline)
        self._mode = self._make_mode(inline=inline)
        self._janitor = Janitor(
            self._registry,
            Limits(
                idle=self.config.idle_timeout,
                write=self.config.write_timeout,
                handler=self.config.handler_timeout,
                lifetime=self.config.max_lifetime,
            ),
            finish=self._finish,
            stuck=self._report_stuck,
            tend=self._mode.tend,
        )
        self._acceptor = Acceptor(
            self.config, self._registry, self._metrics, self._log, self._cores, admit=self._admit, fail=self._fail
        )
        self._number = 0  # of the last connection; the acceptor thread's own
        self._warn_unserved = Throttle(1.0)  # likewise
        # Guards the change from one state of life to the next; re-entrant, since `start` calls `stop` if it fails.
        self._lifecycle = RLock()
        self._addresses: list[Address] = []
        self._started = False
        self._stopped_for_good = False
        self._stopped = Event()
        self._deadline = Deadline(0)  # when the drain ends; replaced by `stop`, and brought forward by `cut`
        self._cutting = Event()
        self._failure: BaseException | None = None  # written by `_fail` before it sets `_stopped`

    def _serves_inline(self) -> bool:
        """Return whether the poller calls the handler."""
        config, factory = self.config, self._factory
        if config.mode != "workers" or config.dispatch == "queue":
            return False
        if config.dispatch == "inline" and factory.blocking:
            problem = (
                f"inline is refused: the handler {factory.name} may block, and would hold up all peers; "
                "must be auto or queue"
            )
            raise ConfigError(problem, key="dispatch")
        return not factory.blocking

    def _make_mode(self, *, inline: bool) -> _Mode:
        config = self.config
        if config.mode == "threads":
            return ServingThreads(self._settle, self._cores)
        return Workers(
            self._settle,
            self._cores,
            inline=inline,
            count=config.workers or max(_LEAST_WORKERS, _WORKERS_PER_CORE * (os.cpu_count() or 1)),
            order=config.queue_order,
            queue_size=config.queue_size,
            limited=bool(self._rate.count),
            log=self._log,
            fail=self._fail,
        )

    # -- life

    def start(self) -> None:
        """Bind, listen, and accept in a thread of its own.

        Raises
        ------
        BindError
            The address can't be listened on.
        RuntimeError
            The server has been started before.

        """
        with self._lifecycle:
            if self._started or self._stopped_for_good:
                raise RuntimeError("a server is started once; make a new one")
            listeners = listen(self.config.host, self.config.port, self.config.backlog)
            self._started = True
            try:
                self._acceptor.take(listeners)
                self._addresses = [listener.getsockname()[:2] for listener in listeners]
                self._mode.start()
                self._janitor.start()
                self._acceptor.start()
            except BaseException:
                self.stop(_GRACE_AFTER_CUT)
                raise
        for address in self._addresses:
            host, port = address
            self._log.info(
                "listening",
                address=show_address(address),
                host=host,
                port=port,
                handler=self._factory.name,
                mode=self.config.mode,
                **({} if self._cores.core is None else {"core": self._cores.core}),
            )

    @property
    def address(self) -> Address:
        """The first address listened on, with the real port."""
        return self.addresses[0]

    @property
    def addresses(self) -> Sequence[Address]:
        """All addresses listened on."""
        if not self._addresses:
            raise RuntimeError("the server has not been started")
        return tuple(self._addresses)

    def stats(self) -> Snapshot:
        """Return all counters as they were at one moment."""
        return self._metrics.snapshot(self._mode.counts())

    def connections(self) -> list[Connection]:
        """Return the open connections, oldest first."""
        return self._registry.live()

    def wait(self) -> None:
        """Wait until the server has stopped.

        Raises
        ------
        BindError
            It stopped accepting because of an error of the system. `stop` still drains what is open.

        """
        self._stopped.wait()
        if self._failure is not None:
            reason = getattr(self._failure, "strerror", None) or repr(self._failure)
            raise BindError(f"cannot go on serving: {reason}") from self._failure

    def stop(self, timeout: float | None = None) -> list[str]:
        """Stop accepting, let each connection get the replies to what had arrived, end all that was started.

        A second call waits for the first.

        Parameters
        ----------
        timeout:
            How long connections may take, in seconds; by default the configured drain timeout. 0 waits without limit.

        Returns
        -------
        list of str
            The connections that had to be cut, as `id peer`; empty after a clean drain.

        Raises
        ------
        ValueError
            The timeout is negative, or not a number.
        RuntimeError
            It is called from a handler: it would wait for its own connection to end.

        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"{timeout!r} is refused: must be a number of seconds, 0 or more")
        if self._mode.serves_in(current_thread()):
            raise RuntimeError("stop() waits for all connections, and so can't be called from a handler")
        with self._lifecycle:
            if self._started and not self._stopped_for_good:
                self._deadline = Deadline(self.config.drain_timeout if timeout is None else timeout)
                # `cut` sets the flag before it expires the deadline, and here the deadline is made before the flag is
                # looked at: whichever comes second, this deadline is over.
                if self._cutting.is_set():
                    self._deadline.expire()
            cut = [] if self._stopped_for_good or not self._started else self._wind_up()
            self._stopped_for_good = True
            self._stopped.set()
            return cut

    def cut(self) -> None:
        """Let the drain that is under way, or the next one, wait no longer."""
        self._cutting.set()
        self._deadline.expire()
        self._registry.wake()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- accepting: this runs in the acceptor thread

    def _admit(self, sock: socket.socket, address: object) -> None:
        """Enter a connection everywhere and start serving it. The slot is its own from here on."""
        self._number += 1
        connection = self._mode.connection(self._number, sock, address, self._factory, self._pipes, self._make_bucket())
        self._metrics.opened(connection.stats)
        self._registry.add(connection)
        try:
            # On Linux it is blocking as accepted; elsewhere it is as its listener (accept(2), NOTES).
            if not (self._mode.blocking and _ACCEPTED_BLOCKING):
                sock.setblocking(self._mode.blocking)
            self._mode.assign(connection)
        except (OSError, RuntimeError, MemoryError) as error:
            # The peer has reset it already, or the system starts no more threads: this peer is lost, and nothing else.
            if not isinstance(error, OSError) and self._warn_unserved.ready():
                self._log.warning("cannot serve a connection", reason=str(error), active=len(self._registry))
            connection.reason = CloseReason.RESET if isinstance(error, OSError) else CloseReason.KILLED
            connection.error = error if isinstance(error, OSError) else None
            self._finish(connection)

    def _make_bucket(self) -> TokenBucket | None:
        rate = self._rate
        if not rate.count:
            return None
        return TokenBucket(rate.count, self._burst.count or rate.count, of_bytes=rate.of_bytes, now=monotonic())

    def _fail(self, error: BaseException) -> None:
        """Let `wait` raise: one of the threads without which nobody is served has ended."""
        self._failure = error
        self._stopped.set()
        self._log.error("cannot go on serving", reason=repr(error))

    # -- serving

    def _settle(self, connection: Connection) -> None:
        """Let go of a connection that has ended: close it, or have the janitor do so when its peer has gone quiet."""
        if connection.start_lingering():
            self._janitor.linger(connection)
        else:
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        """Close a connection and give back all that it held: the one place where a connection ends.

        Counted and logged before it leaves the registry: a drain waits for the registry to be empty, and then prints
        the totals.
        """
        try:
            connection.close()
            self._metrics.closed(connection.stats, connection.reason)
            tell_end(self._log, connection)
        except Exception:  # noqa: BLE001 - a log that an embedding program brings may raise; this thread serves others too
            excepthook(ExceptHookArgs((*sys.exc_info(), current_thread())))
        finally:
            self._registry.remove(connection)
            self._acceptor.release(connection)

    def _report_stuck(self, connection: Connection) -> None:
        """Count and log that a handler keeps its thread for too long; from the janitor."""
        self._metrics.stuck()
        tell_stuck(self._log, connection, self._factory.name)

    # -- stopping

    def _wind_up(self) -> list[str]:
        """End everything that was started, in the order of a byte's journey. Return which connections were cut."""
        self._acceptor.stop()
        cut = self._drain()
        # With no connection left, each thread is about to end; with one, its handler may never come back.
        grace = Deadline(_GRACE_WHEN_STUCK if len(self._registry) else _GRACE_AFTER_DRAIN)
        left = [*self._mode.stop(grace), *self._janitor.stop(Deadline(_GRACE_AFTER_DRAIN))]
        if left:
            self._log.error("threads did not end", threads=[thread.name for thread in left])
        if self._pipes is not None:
            self._pipes.close()
        self._acceptor.close()
        return cut

    def _drain(self) -> list[str]:
        """Let the open connections end; past the deadline cut them. Return which were cut."""
        for connection in self._registry.live():
            connection.end(CloseReason.DRAINED)
        if self._registry.wait_empty(self._deadline):
            return []
        late = [connection for connection in self._registry.live() if connection.end(CloseReason.CUT)]
        self._registry.wait_empty(Deadline(_GRACE_AFTER_CUT))
        # One that was cut while it ended of itself, or lingered, ended as it would have.
        cut = [connection for connection in late if connection.reason is CloseReason.CUT or not connection.closed]
        return [f"{connection.number} {connection.peer}" for connection in cut]
