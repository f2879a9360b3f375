"""The server: admission, the accept loop and the drain. Here the rooms come together.

A connection's way, from top to bottom: `_accept_all` takes a slot and accepts, `_admit` enters the connection
everywhere and gives it to a serving thread, `_serve` serves it to its end, `_finish` closes it and gives everything
back.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import traceback
from collections.abc import Sequence
from threading import BoundedSemaphore, Event, ExceptHookArgs, RLock, Thread, current_thread, excepthook
from threading import enumerate as enumerate_threads
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from structlog.typing import FilteringBoundLogger

from echoserver.admission import HostLimit
from echoserver.bulk import PipePool, can_splice
from echoserver.clock import Deadline, Throttle
from echoserver.config import ServerConfig
from echoserver.connection import Connection
from echoserver.errors import BindError, ConfigError
from echoserver.handlers import find_handler
from echoserver.janitor import Janitor, Limits
from echoserver.listener import Address, listen, show_address
from echoserver.logs import library_logger
from echoserver.metrics import CloseReason, Metrics, Snapshot, WorkerSnapshot
from echoserver.rate import TokenBucket, parse_amount, parse_rate
from echoserver.registry import ConnectionRegistry
from echoserver.threads import ServingThreads
from echoserver.workers import Workers

# accept(2): the peer is gone again, or its network is; the next one may be fine.
_PEER_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EINTR,
        *((errno.ENONET,) if sys.platform == "linux" else ()),
    }
)
# accept(2): the system is short of something, or a firewall rule forbids this peer. The peer stays in the queue and the
# listener stays readable, so trying again at once would spin.
_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM})
_SHORTAGE_PAUSE = 0.1
_ACCEPTS_IN_A_ROW = 64
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
        # How many connections may be open. Admission lives here alone: a slot is taken before the accept, and given
        # back when the connection has been closed and counted.
        self._slots = BoundedSemaphore(self.config.max_connections)
        per_host = self.config.max_connections_per_host
        self._hosts = HostLimit(per_host, self.config.trusted) if per_host else None
        self._rate, self._burst = parse_rate(self.config.rate_limit), parse_amount(self.config.rate_burst)
        self._pipes = PipePool() if self._factory.unchanged and can_splice() else None
        self._mode = self._make_mode()
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
        # Guards `_listeners` and the change from one state of life to the next; re-entrant, since `start` calls `stop`
        # if it fails.
        self._lifecycle = RLock()
        self._listeners: list[socket.socket] = []
        self._addresses: list[Address] = []
        self._acceptor = Thread(target=self._accept_loop, name="acceptor", daemon=True)
        self._started = False
        self._stopped_for_good = False
        self._stopping = Event()
        self._stopped = Event()
        self._deadline = Deadline(0)  # when the drain ends; replaced by `stop`, and brought forward by `cut`
        self._cutting = Event()
        self._failure: BaseException | None = None  # written by `_fail` before it sets `_stopped`
        self._slot_wanted = False  # written by the acceptor; see `_wait_for_slot`
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._number = 0  # of the last connection; the acceptor's own
        # The acceptor's own.
        self._warn_limit = Throttle(1.0)
        self._warn_host = Throttle(1.0)
        self._warn_shortage = Throttle(1.0)

    def _make_mode(self) -> _Mode:
        config = self.config
        if config.mode == "threads":
            return ServingThreads(self._settle)
        if config.dispatch == "inline" and self._factory.blocking:
            name = self._factory.name
            problem = (
                f"inline is refused: the handler {name} may block, and would hold up all peers; must be auto or queue"
            )
            raise ConfigError(problem, key="dispatch")
        return Workers(
            self._settle,
            inline=config.dispatch == "inline" or (config.dispatch == "auto" and not self._factory.blocking),
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
            if self._started or self._stopping.is_set():
                raise RuntimeError("a server is started once; make a new one")
            self._listeners = listen(self.config.host, self.config.port, self.config.backlog)
            self._started = True
            try:
                self._addresses = [listener.getsockname()[:2] for listener in self._listeners]
                self._bell = socket.socketpair()
                for end in self._bell:
                    end.setblocking(False)
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
            self._stopping.set()
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

    # -- accepting: all of this runs in the acceptor thread

    def _accept_loop(self) -> None:
        assert self._bell is not None
        try:
            with selectors.DefaultSelector() as selector:
                for listener in self._listeners:
                    selector.register(listener, selectors.EVENT_READ, listener)
                selector.register(self._bell[0], selectors.EVENT_READ)
                while not self._stopping.is_set():
                    for key, _ in selector.select():
                        if key.data is None:
                            self._hear_bell()
                        else:
                            self._accept_all(key.data)
        except BaseException as error:  # noqa: BLE001 - whatever it is, a server that accepts nobody must say so
            self._fail(error)
        finally:
            self._close_listeners()

    def _fail(self, error: BaseException) -> None:
        """Let `wait` raise: one of the threads without which nobody is served has ended."""
        self._failure = error
        self._stopped.set()
        self._log.error("cannot go on serving", reason=repr(error))

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _accept_all(self, listener: socket.socket) -> None:
        """Accept who waits at this listener, up to a number that still lets the other listeners have their turn."""
        for accepted in range(_ACCEPTS_IN_A_ROW):
            if self._stopping.is_set():
                return
            # At the limit: right after the selector said so, somebody waits for sure; else let it say so first.
            if not self._slots.acquire(blocking=False) and (accepted or not self._at_limit(listener)):
                return
            try:
                sock, address = listener.accept()
            except OSError as error:
                self._slots.release()
                if error.errno == errno.EAGAIN:
                    return
                if error.errno in _SHORTAGE:
                    self._pause_for(error)
                    return
                if error.errno not in _PEER_GONE:
                    raise
                continue
            if self._hosts is None or self._hosts.enter(address[0]):
                self._admit(sock, address)
            else:
                self._slots.release()
                self._reject(sock, address[0])

    def _reject(self, sock: socket.socket, host: str) -> None:
        """Close a peer's connection, its host having as many as one host may have."""
        if self._warn_host.ready():
            limit = self.config.max_connections_per_host
            self._log.warning("connection limit of a host reached", host=host, limit=limit)
        # Counted first, so that the count is right by the time the peer knows.
        self._metrics.rejected()
        sock.close()

    def _at_limit(self, listener: socket.socket) -> bool:
        """Deal with a peer that waits while all slots are taken; return true with a slot taken, or false."""
        if self._warn_limit.ready():
            self._log.warning("connection limit reached", active=len(self._registry), limit=self.config.max_connections)
        if self.config.at_limit == "wait":
            self._metrics.held()
            return self._wait_for_slot()
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in _SHORTAGE:
                self._pause_for(error)
            elif error.errno != errno.EAGAIN and error.errno not in _PEER_GONE:
                raise
            return False
        # Counted first, so that the count is right by the time the peer knows.
        self._metrics.rejected()
        sock.close()
        return False

    def _wait_for_slot(self) -> bool:
        """Wait until a connection ends or the server stops; return whether a slot was taken.

        The acceptor says that it wants a slot and then tries once more; `_finish` gives its slot back and then looks
        whether one is wanted. Whichever comes second sees the other: either this try gets the slot, or `_finish` rings
        the bell.
        """
        assert self._bell is not None
        self._slot_wanted = True
        try:
            while not (taken := self._slots.acquire(blocking=False)) and not self._stopping.is_set():
                with selectors.DefaultSelector() as selector:
                    selector.register(self._bell[0], selectors.EVENT_READ)
                    selector.select()
                self._hear_bell()
            return taken
        finally:
            self._slot_wanted = False

    def _pause_for(self, error: OSError) -> None:
        if self._warn_shortage.ready():
            name = errno.errorcode.get(error.errno or 0, "?")
            self._log.warning(
                "cannot accept for now", error=name, reason=os.strerror(error.errno or 0), active=len(self._registry)
            )
        self._stopping.wait(_SHORTAGE_PAUSE)

    def _admit(self, sock: socket.socket, address: object) -> None:
        """Enter a connection everywhere and start serving it. The slot is its own from here on."""
        self._number += 1
        connection = self._mode.connection(self._number, sock, address, self._factory, self._pipes, self._make_bucket())
        self._metrics.opened(connection.tally)
        self._registry.add(connection)
        try:
            # What it inherits from the listener differs between systems.
            sock.setblocking(self._mode.blocking)
            self._mode.assign(connection)
        except (OSError, RuntimeError, MemoryError) as error:
            # The peer has reset it already, or the system starts no more threads: this peer is lost, and nothing else.
            if not isinstance(error, OSError) and self._warn_shortage.ready():
                self._log.warning("cannot serve a connection", reason=str(error), active=len(self._registry))
            connection.reason = CloseReason.RESET if isinstance(error, OSError) else CloseReason.KILLED
            connection.error = error if isinstance(error, OSError) else None
            self._finish(connection)

    def _make_bucket(self) -> TokenBucket | None:
        rate = self._rate
        if not rate.count:
            return None
        return TokenBucket(rate.count, self._burst.count or rate.count, of_bytes=rate.of_bytes, now=monotonic())

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
            self._metrics.closed(connection.tally, connection.reason)
            self._log_end(connection)
        except Exception:  # noqa: BLE001 - a log that an embedding program brings may raise; this thread serves others too
            excepthook(ExceptHookArgs((*sys.exc_info(), current_thread())))
        finally:
            self._registry.remove(connection)
            if self._hosts is not None:
                self._hosts.leave(connection.host)
            self._slots.release()
            if self._slot_wanted:
                self._ring()

    def _log_end(self, connection: Connection) -> None:
        tally, error = connection.tally, connection.error
        facts = {
            "id": connection.number,
            "peer": connection.peer,
            "bytes_in": tally.bytes_in,
            "bytes_out": tally.bytes_out,
            "replies": tally.replies,
            "seconds": round(monotonic() - connection.opened_at, 6),
            "reason": connection.reason.value,
        }
        if isinstance(error, OSError) and connection.reason is CloseReason.RESET:
            facts["error"] = errno.errorcode.get(error.errno or 0, str(error))
        elif error is not None:
            self._log.error("connection ended", **facts, exc_info=error)
            return
        # A health probe connects and closes without a byte: no news.
        if tally.bytes_in:
            self._log.info("connection ended", **facts)
        else:
            self._log.debug("connection ended", **facts)

    def _report_stuck(self, connection: Connection) -> None:
        """Say which handler keeps its thread for too long, and where in its code; from the janitor."""
        self._metrics.stuck()
        frame = sys._current_frames().get(connection.served_by)
        name = next((thread.name for thread in enumerate_threads() if thread.ident == connection.served_by), "?")
        self._log.error(
            "handler stuck",
            id=connection.number,
            peer=connection.peer,
            handler=self._factory.name,
            thread=name,
            stack="".join(traceback.format_stack(frame)) if frame else "",
        )

    # -- stopping

    def _wind_up(self) -> list[str]:
        """End everything that was started, in the order of a byte's journey. Return which connections were cut."""
        self._ring()
        if self._acceptor.ident is not None:
            self._acceptor.join()
        else:  # `start` failed before it
            self._close_listeners()
        cut = self._drain()
        # With no connection left, each thread is about to end; with one, its handler may never come back.
        grace = Deadline(_GRACE_WHEN_STUCK if len(self._registry) else _GRACE_AFTER_DRAIN)
        left = [*self._mode.stop(grace), *self._janitor.stop(Deadline(_GRACE_AFTER_DRAIN))]
        if left:
            self._log.error("threads did not end", threads=[thread.name for thread in left])
        if self._pipes is not None:
            self._pipes.close()
        bell, self._bell = self._bell, None
        for end in bell or ():
            end.close()
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

    def _ring(self) -> None:
        """Wake the acceptor, wherever it waits. A full buffer is as good: it will wake."""
        bell = self._bell
        if bell is not None:
            try:
                bell[1].send(b"!")
            except OSError:
                pass

    def _hear_bell(self) -> None:
        assert self._bell is not None
        try:
            while self._bell[0].recv(64):
                pass
        except BlockingIOError:
            pass
