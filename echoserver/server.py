"""The server: its life from start to drain. It puts the parts together and starts and ends them.

A connection passes through them in this order: the acceptor takes a place and accepts (`serving/acceptor.py`), the
lifecycle enters the connection everywhere and gives it to a serving thread (`serving/lifecycle.py`), a driver serves
it, and the lifecycle closes it and gives everything back.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from threading import RLock, current_thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from echoserver.clock import Deadline
from echoserver.config import ServerConfig
from echoserver.errors import BindError
from echoserver.handlers import find_handler
from echoserver.net.listener import Listener
from echoserver.net.listeners import Listeners
from echoserver.net.splice import PipePool, can_splice
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason, Metrics, Snapshot
from echoserver.observe.telling import library_logger, tell
from echoserver.serving.accepting import can_share
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Admission
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection
from echoserver.serving.drain import drain
from echoserver.serving.janitor import Janitor
from echoserver.serving.lifecycle import Lifecycle, Recipe
from echoserver.serving.limits import Limits
from echoserver.serving.modes import make_accepting, make_mode, serves_inline
from echoserver.serving.pulse import Pulse
from echoserver.serving.registry import ConnectionRegistry
from echoserver.serving.reloading import Reloading
from echoserver.serving.stopping import Patience

if TYPE_CHECKING:  # loaded only where several processes share it
    from echoserver.serving.board import Row
    from echoserver.serving.inside import Inside as InsideOfServer

_GRACE_AFTER_FAILED_START = 0.4
_GRACE_WHEN_STUCK = 0.2
_GRACE_TO_END = 5.0


class Server:
    """A server that gives the bytes of each connection to a handler and sends back what the handler returns.

    Use it as a context manager, or call `start` and `stop`. All methods may be called from any thread.

    Parameters
    ----------
    config:
        How it behaves.
    log:
        A structlog logger; by default everything goes to the logger `echoserver` of the standard library.
    listeners:
        Listening sockets that were bound elsewhere, to be used instead of the endpoints of the configuration.
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
        log: Logger | None = None,
        listeners: Sequence[socket.socket | Listener] | None = None,
        row: Row | None = None,
    ) -> None:
        config = config or ServerConfig()
        self._row = row
        self._log = log or library_logger()
        self._listeners = Listeners(listeners)
        factory = find_handler(config.handler, config.handler_options)
        inline, turn = serves_inline(config, factory), None if row is None else row.index
        self._pipes = PipePool() if can_splice() else None
        self._metrics = Metrics(None if row is None else row.counters)
        self._registry = ConnectionRegistry()
        recipe = Recipe(factory, self._pipes, config, self._metrics)
        self._lifecycle = Lifecycle(recipe, self._metrics, self._log)
        self._affinity = Affinity(config.cores, lock_bound=not factory.blocking and not inline, turn=turn)
        self._mode = self._lifecycle.mode = make_mode(config, self._lifecycle, self._affinity, self._log, inline=inline)
        self._janitor = Janitor(self._registry, Limits.of(config), self._lifecycle, self._maintain)
        self._admission = Admission(config, self._metrics, self._registry, row)
        exclusively = self._listeners.were_given and can_share()
        acceptor = Acceptor(config, self._admission, self._lifecycle, self._log, exclusively=exclusively)
        self._accepting = make_accepting(self._mode, acceptor, self._admission, self._lifecycle, self._affinity)
        self._pulse = Pulse([self._accepting, self._janitor, *self._mode.beating])
        self._reloading = Reloading(
            config, self._lifecycle, self._janitor, self._admission, self._accepting, self._metrics, self._log
        )
        # Guards the change from one state of life to the next; re-entrant, since `start` calls `stop` if it fails.
        self._state_lock = RLock()
        self._started = False
        self._stopped = False
        self._drain = Patience(self._registry)

    # -- start

    def start(self) -> None:
        """Bind, listen, and accept in a thread of its own.

        Raises
        ------
        BindError
            An endpoint cannot be listened on.
        ConfigError
            There is no such inherited socket.
        RuntimeError
            The server has been started before.

        """
        with self._state_lock:
            if self._started or self._stopped:
                raise RuntimeError("a server is started once; make a new one")
            listeners = self._listeners.open(self.config.endpoints, self.config.backlog)
            self._started = True
            try:
                self._accepting.adopt(listeners)
                self._mode.start()
                self._janitor.start()
                self._accepting.start()
            except BaseException:
                self.stop(_GRACE_AFTER_FAILED_START)
                raise
        facts: dict[str, object] = {"handler": self._lifecycle.recipe.factory.name, "mode": self.config.mode}
        if self._affinity.core is not None:
            facts["core"] = self._affinity.core
        for listener in listeners if self._row is None else ():
            tell(self._log.info, "listening", **listener.facts(), **facts)
        self._lifecycle.announce()

    # -- while it runs

    @property
    def config(self) -> ServerConfig:
        """How it behaves; another one after a reload."""
        return self._reloading.config

    @property
    def address(self) -> tuple[str, int]:
        """The first TCP address listened on, with the real port; raises `RuntimeError` if there is none."""
        return self._listeners.address

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """All TCP addresses listened on."""
        return self._listeners.addresses

    @property
    def endpoints(self) -> Sequence[str]:
        """All endpoints listened on, as `--listen` takes them, with the real ports."""
        return self._listeners.endpoints

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

    def reload(self, config: ServerConfig | None = None) -> list[str]:
        """Do as another configuration says, and read the files that it names.

        New connections get the new handler, faults, certificates and rates. Time limits hold for those that are open,
        too; otherwise they go on as they began. A server with TLS also reads its certificates when their files change.

        Parameters
        ----------
        config:
            The configuration; by default the one in use, of which only the certificates are read again.

        Returns
        -------
        list of str
            The names of the options that have changed; `certificates` if that is all that was read.

        Raises
        ------
        ConfigError
            Something is refused, or can't change while the server runs. That has been logged, and nothing has changed.

        """
        return self._reloading.reload(config)

    @property
    def inside(self) -> InsideOfServer:
        """What its parts know, for whoever observes it."""
        from echoserver.serving.inside import Inside  # few ask

        return Inside(self._lifecycle, self._listeners, self._admission, self._accepting, self._mode, self._janitor)

    def stuck(self) -> list[str]:
        """Return the names of the threads that have not gone round since the last call; for one thread, a watchdog."""
        return self._pulse.stuck()

    def _maintain(self) -> None:
        """Put the serving threads in order, and look at the certificates; called by the janitor."""
        self._mode.maintain()
        self._reloading.look()

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
        return self._stop(timeout, CloseReason.DRAINED)

    def _stop(self, timeout: float | None, reason: CloseReason) -> list[str]:
        """Do what `stop` says; the reason is that of connections that are still open."""
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"{timeout!r} is refused: must be a number of seconds, 0 or more")
        thread = current_thread()
        if self._mode.serves_in(thread) or thread in (self._accepting.thread, self._janitor.thread):
            raise RuntimeError(f"stop() waits for the thread {thread.name}, so it can't be called there")
        with self._state_lock:
            cut: list[str] = []
            if self._started and not self._stopped:
                self._drain.begin(self.config.drain_timeout if timeout is None else timeout)
                cut = self._wind_up(reason)
            self._stopped = True
            self._lifecycle.over.set()
            return cut

    def cut(self) -> None:
        """Have the drain that is under way, or the next one, wait no longer."""
        self._drain.end()

    def _wind_up(self, reason: CloseReason) -> list[str]:
        """End everything that was started, in the order of a byte's journey. Return which connections were cut."""
        left = self._accepting.stop(self._drain.deadline, Deadline(_GRACE_TO_END))
        cut = drain(self._registry, self._drain.deadline, reason)
        # With no connection left, each thread is about to end; with one, its handler may never return.
        grace = Deadline(_GRACE_WHEN_STUCK if len(self._registry) else _GRACE_TO_END)
        left += [*self._mode.stop(grace), *self._janitor.stop(Deadline(_GRACE_TO_END))]
        for connection in self._registry.live():
            self._lifecycle.abandon(connection)
        if left:
            tell(self._log.error, "threads did not end", threads=[thread.name for thread in left])
        if self._pipes is not None:
            self._pipes.close()
        self._accepting.close()
        return cut

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
