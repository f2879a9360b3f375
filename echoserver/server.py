"""The server: its life from start to drain. It puts the parts together and starts and ends them.

A connection passes through them in this order: the acceptor takes a place and accepts (`serving/acceptor.py`), the
lifecycle enters the connection everywhere and gives it to a serving thread (`serving/lifecycle.py`), a driver serves
it, and the lifecycle closes it and gives everything back.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from threading import Event, RLock, Thread, current_thread
from types import TracebackType
from typing import Protocol, Self

from structlog.typing import FilteringBoundLogger

from echoserver.clock import Deadline
from echoserver.config import ServerConfig
from echoserver.errors import BindError, ConfigError
from echoserver.handlers import HandlerFactory, find_handler
from echoserver.net.endpoint import Endpoint
from echoserver.net.listener import adopt, listen
from echoserver.net.splice import PipePool, can_splice
from echoserver.observe.logs import library_logger
from echoserver.observe.metrics import Metrics, Snapshot, WorkerSnapshot
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Admission
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection
from echoserver.serving.drain import drain
from echoserver.serving.janitor import Janitor
from echoserver.serving.lifecycle import Lifecycle, Recipe, tell
from echoserver.serving.limits import Limits
from echoserver.serving.registry import ConnectionRegistry
from echoserver.serving.threads import ServingThreads
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.pool import Workers
from echoserver.serving.workers.ready import ReadyQueue

_GRACE_AFTER_FAILED_START = 0.4
_GRACE_WHEN_STUCK = 0.2
_GRACE_TO_END = 5.0
_LEAST_WORKERS, _WORKERS_PER_CORE = 8, 4


class _Mode(Protocol):
    """How connections get their threads: `ServingThreads` or `Workers`."""

    blocking: bool

    def start(self) -> None: ...
    def assign(self, connection: Connection) -> None: ...
    def serves_in(self, thread: Thread) -> bool: ...
    def maintain(self) -> None: ...
    def counts(self) -> WorkerSnapshot | None: ...
    def stop(self, deadline: Deadline) -> list[Thread]: ...


class Server:
    """A TCP server that gives the bytes of each connection to a handler and sends back what the handler returns.

    Use it as a context manager, or call `start` and `stop`. All methods may be called from any thread.

    Parameters
    ----------
    config:
        How it behaves.
    log:
        A structlog logger; by default everything goes to the logger `echoserver` of the standard library.
    listeners:
        Listening sockets that somebody else has bound, to be used instead of the host and port of the configuration.
        From `start` on they belong to the server, which makes them non-blocking and closes them when it stops. It never
        shuts them down, so other processes may share them.

    Raises
    ------
    ConfigError
        The handler cannot be found or refuses its options, or one of the listeners is not a listening socket.

    """

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        log: FilteringBoundLogger | None = None,
        listeners: Sequence[socket.socket] | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        self._log = log or library_logger()
        self._listeners = None if listeners is None else [adopt(listener) for listener in dict.fromkeys(listeners)]
        if self._listeners == []:
            raise ConfigError("listeners is refused: must have at least one listening socket")
        self._factory = find_handler(self.config.handler, self.config.handler_options)
        inline = _serves_inline(self.config, self._factory)
        self._pipes = PipePool() if self._factory.unchanged and can_splice() else None
        self._metrics = Metrics()
        self._registry = ConnectionRegistry()
        recipe = Recipe(self._factory, self._pipes, self.config.rate_limit, self.config.rate_burst)
        self._lifecycle = Lifecycle(recipe, self._metrics, self._log)
        self._affinity = Affinity(self.config.cores, lock_bound=not self._factory.blocking and not inline)
        self._mode = self._lifecycle.mode = self._make_mode(inline=inline)
        self._janitor = Janitor(self._registry, _limits(self.config), self._lifecycle, self._mode.maintain)
        self._admission = Admission(self.config, self._metrics, self._registry)
        self._acceptor = Acceptor(self.config, self._admission, self._lifecycle, self._log, self._affinity)
        # Guards the change from one state of life to the next; re-entrant, since `start` calls `stop` if it fails.
        self._state_lock = RLock()
        self._endpoints: list[Endpoint] = []
        self._started = False
        self._stopped = False
        self._deadline = Deadline(0)  # when the drain ends; replaced by `stop`, and brought forward by `cut`
        self._cutting = Event()

    def _make_mode(self, *, inline: bool) -> _Mode:
        config, lifecycle = self.config, self._lifecycle
        if config.mode == "threads":
            return ServingThreads(lifecycle, self._affinity)
        ready = ReadyQueue(config.queue_order, config.queue_size, self._log)
        limited = bool(config.rate_limit.count)
        poller = Poller(None if inline else ready, limited=limited, lifecycle=lifecycle, affinity=self._affinity)
        count = config.workers or max(_LEAST_WORKERS, _WORKERS_PER_CORE * (os.cpu_count() or 1))
        return Workers(poller, ready, count=0 if inline else count, affinity=self._affinity, log=self._log)

    # -- start

    def start(self) -> None:
        """Bind, listen, and accept in a thread of its own.

        Raises
        ------
        BindError
            The address cannot be listened on.
        RuntimeError
            The server has been started before.

        """
        with self._state_lock:
            if self._started or self._stopped:
                raise RuntimeError("a server is started once; make a new one")
            endpoint = Endpoint(self.config.host, self.config.port)
            listeners = self._listeners or listen(endpoint, self.config.backlog)
            self._started = True
            try:
                self._acceptor.adopt(listeners)
                self._endpoints = [Endpoint.of(listener) for listener in listeners]
                self._mode.start()
                self._janitor.start()
                self._acceptor.start()
            except BaseException:
                self.stop(_GRACE_AFTER_FAILED_START)
                raise
        pinned = {} if self._affinity.core is None else {"core": self._affinity.core}
        for endpoint in self._endpoints:
            tell(
                self._log.info,
                "listening",
                address=str(endpoint),
                host=endpoint.host,
                port=endpoint.port,
                handler=self._factory.name,
                mode=self.config.mode,
                **pinned,
            )

    # -- while it runs

    @property
    def address(self) -> tuple[str, int]:
        """The first address listened on, with the real port."""
        return self.addresses[0]

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """All addresses listened on."""
        if not self._endpoints:
            raise RuntimeError("the server has not been started")
        return tuple((endpoint.host, endpoint.port) for endpoint in self._endpoints)

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
        self._lifecycle.over.wait()
        failure = self._lifecycle.failure
        if failure is not None:
            reason = getattr(failure, "strerror", None) or repr(failure)
            raise BindError(f"cannot go on serving: {reason}") from failure

    # -- stop

    def stop(self, timeout: float | None = None) -> list[str]:
        """Stop accepting, let each connection get the replies to what had arrived, and end everything that was started.

        Peers that wait in the kernel's queue are accepted first, as far as there are places, and answered like the
        others. A second call waits for the first.

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
            It is called from a handler, or from the log in a thread of the server: it would wait for its own thread.

        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"{timeout!r} is refused: must be a number of seconds, 0 or more")
        thread = current_thread()
        if self._mode.serves_in(thread) or thread in (self._acceptor.thread, self._janitor.thread):
            raise RuntimeError(f"stop() waits for the thread {thread.name}, so it can't be called there")
        with self._state_lock:
            cut: list[str] = []
            if self._started and not self._stopped:
                self._deadline = Deadline(self.config.drain_timeout if timeout is None else timeout)
                # `cut` sets the flag before it expires the deadline, and here the deadline is made before the flag is
                # looked at: whichever comes second, this deadline is over.
                if self._cutting.is_set():
                    self._deadline.expire()
                cut = self._wind_up()
            self._stopped = True
            self._lifecycle.over.set()
            return cut

    def cut(self) -> None:
        """Have the drain that is under way, or the next one, wait no longer."""
        self._cutting.set()
        self._deadline.expire()
        self._registry.wake()

    def _wind_up(self) -> list[str]:
        """End everything that was started, in the order of a byte's journey. Return which connections were cut."""
        left = self._acceptor.stop(self._deadline, Deadline(_GRACE_TO_END))
        cut = drain(self._registry, self._deadline)
        # With no connection left, each thread is about to end; with one, its handler may never return.
        grace = Deadline(_GRACE_WHEN_STUCK if len(self._registry) else _GRACE_TO_END)
        left += [*self._mode.stop(grace), *self._janitor.stop(Deadline(_GRACE_TO_END))]
        for connection in self._registry.live():
            self._lifecycle.abandon(connection)
        if left:
            tell(self._log.error, "threads did not end", threads=[thread.name for thread in left])
        if self._pipes is not None:
            self._pipes.close()
        self._acceptor.close()
        return cut

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _serves_inline(config: ServerConfig, factory: HandlerFactory) -> bool:
    """Return whether the poller calls the handler."""
    if config.mode != "workers" or config.dispatch == "queue":
        return False
    if config.dispatch == "inline" and factory.blocking:
        problem = (
            f"inline is refused: the handler {factory.name} may block, and would hold up all peers; "
            "must be auto or queue"
        )
        raise ConfigError(problem, key="dispatch")
    return not factory.blocking


def _limits(config: ServerConfig) -> Limits:
    return Limits(
        idle=config.idle_timeout,
        write=config.write_timeout,
        handler=config.handler_timeout,
        lifetime=config.max_lifetime,
    )
