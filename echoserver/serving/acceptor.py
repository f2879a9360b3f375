"""The acceptor: one thread that accepts peers as long as there is a place for them.

How many connections may be open is decided here and nowhere else: a slot is taken before the accept, and whoever closes
a connection gives it back.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
from collections.abc import Callable
from threading import BoundedSemaphore, Event, Thread

from structlog.typing import FilteringBoundLogger

from echoserver.clock import Throttle
from echoserver.config import ServerConfig
from echoserver.observe.metrics import Metrics
from echoserver.serving.affinity import Cores
from echoserver.serving.connection import Connection
from echoserver.serving.hosts import HostLimit
from echoserver.serving.registry import ConnectionRegistry

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


class Acceptor:
    """The thread that accepts, and the slots.

    Parameters
    ----------
    config:
        How many connections there may be, of all and of one host, and what becomes of the others.
    registry:
        Says how many there are, for the log.
    metrics:
        Counts who was turned away or had to wait.
    log:
        For what stands in the way of accepting.
    cores:
        Where the thread runs.
    admit:
        Takes over an accepted socket with its peer's address, and the slot that goes with it.
    fail:
        Is told what ended the accepting, other than `stop`.

    """

    def __init__(
        self,
        config: ServerConfig,
        registry: ConnectionRegistry,
        metrics: Metrics,
        log: FilteringBoundLogger,
        cores: Cores,
        *,
        admit: Callable[[socket.socket, tuple[object, ...]], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._registry = registry
        self._metrics = metrics
        self._log = log
        self._cores = cores
        self._admit = admit
        self._fail = fail
        # How many connections may be open.
        self._slots = BoundedSemaphore(config.max_connections)
        per_host = config.max_connections_per_host
        self._hosts = HostLimit(per_host, config.trusted) if per_host else None
        self._listeners: list[socket.socket] = []
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._thread = Thread(target=self._run, name="acceptor", daemon=True)
        self._stopping = Event()
        self._slot_wanted = False  # written by the acceptor; see `_wait_for_slot`
        # The acceptor's own.
        self._warn_limit = Throttle(1.0)
        self._warn_host = Throttle(1.0)
        self._warn_shortage = Throttle(1.0)

    def take(self, listeners: list[socket.socket]) -> None:
        """Take over the listeners: from here on `stop` closes them."""
        self._listeners = listeners
        self._bell = socket.socketpair()
        for end in self._bell:
            end.setblocking(False)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Accept nobody any more. Returns when the thread has ended and the listeners are closed."""
        self._stopping.set()
        self._ring()
        if self._thread.ident is not None:
            self._thread.join()
        else:  # it was never started, because something else failed to
            self._close_listeners()

    def close(self) -> None:
        """Give the rest back, once no connection is left that could."""
        bell, self._bell = self._bell, None
        for end in bell or ():
            end.close()

    def release(self, connection: Connection) -> None:
        """Take back the slot of a connection that has been closed; from any thread."""
        if self._hosts is not None:
            self._hosts.leave(connection.host)
        self._slots.release()
        if self._slot_wanted:
            self._ring()

    def _ring(self) -> None:
        """Wake the acceptor, wherever it waits. A full buffer is as good: it will wake."""
        bell = self._bell
        if bell is not None:
            try:
                bell[1].send(b"!")
            except OSError:
                pass

    # -- from here on, the acceptor thread

    def _run(self) -> None:
        assert self._bell is not None
        self._cores.share()
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
            limit = self._config.max_connections_per_host
            self._log.warning("connection limit of a host reached", host=host, limit=limit)
        # Counted first, so that the count is right by the time the peer knows.
        self._metrics.rejected()
        sock.close()

    def _at_limit(self, listener: socket.socket) -> bool:
        """Deal with a peer that waits while all slots are taken; return true with a slot taken, or false."""
        if self._warn_limit.ready():
            self._log.warning(
                "connection limit reached", active=len(self._registry), limit=self._config.max_connections
            )
        if self._config.at_limit == "wait":
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

        The acceptor says that it wants a slot and then tries once more; `release` gives one back and then looks
        whether one is wanted. Whichever comes second sees the other: either this try gets the slot, or `release` rings
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

    def _hear_bell(self) -> None:
        assert self._bell is not None
        try:
            while self._bell[0].recv(64):
                pass
        except BlockingIOError:
            pass
