"""Admission: who may be served, and what each connection occupies while it is.

How many connections may be open is decided here and nowhere else. A `Lease` stands for one place. It is taken before
the accept, grows with what the connection occupies (an entry for its host, one in the registry, one in the metrics),
and its `release` gives all of that back. Nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from echoserver.config import ServerConfig
from echoserver.net.waker import Waker
from echoserver.observe.metrics import CloseReason, Metrics
from echoserver.serving.connection import Connection
from echoserver.serving.hosts import HostLimit
from echoserver.serving.places import Places
from echoserver.serving.registry import ConnectionRegistry

if TYPE_CHECKING:  # loaded only where several processes share it
    from echoserver.serving.board import Row, SharedHostLimit, SharedPlaces

T = TypeVar("T")


class Admission:
    """The places of one server.

    Parameters
    ----------
    config:
        How many connections there may be, in all and from one host.
    metrics:
        Where connections are counted.
    registry:
        Where open connections are found.
    row:
        Where this process counts what all processes share; `None` if it is the only one.

    """

    def __init__(
        self, config: ServerConfig, metrics: Metrics, registry: ConnectionRegistry, row: Row | None = None
    ) -> None:
        self.metrics = metrics
        self.registry = registry
        self.places: Places | SharedPlaces = Places(config.max_connections)
        """How many connections may be open."""
        self.shared = None if row is None else row.places()
        """The places of all processes, where there are several."""
        if self.shared is not None:
            self.places = self.shared
        per_host, trusted = config.max_connections_per_host, config.trusted
        self.hosts: HostLimit | SharedHostLimit | None = None
        if per_host:
            self.hosts = HostLimit(per_host, trusted) if row is None else row.host_limit(per_host, trusted)
        self.waker: Waker | None = None
        """Wakes the acceptor where it waits for a place; set before it starts."""
        self.place_wanted = False
        """Whether the acceptor waits for a place; written by the acceptor, see `Acceptor._wait_for_place`."""

    def change(self, config: ServerConfig) -> None:
        """Let as many be open as another configuration says. Connections that are open stay open.

        Where hosts had no limit before, those that are open by now don't count against it.
        """
        if isinstance(self.places, Places):
            self.places.resize(config.max_connections)
        if isinstance(self.hosts, HostLimit):
            self.hosts.change(config.max_connections_per_host, config.trusted)
        elif config.max_connections_per_host:
            self.hosts = HostLimit(config.max_connections_per_host, config.trusted)
        if self.place_wanted and self.waker is not None:
            self.waker.wake()

    def take_place(self) -> Lease | None:
        """Return a lease with one place, or `None` where there is none."""
        if not self.places.acquire(blocking=False):
            return None
        try:
            return Lease(self)
        except BaseException:  # no memory
            self.places.release()
            raise


class Lease:
    """What one connection occupies. It belongs to the connection, and before that to the acceptor.

    Several threads may come to end a connection. `fold` returns true to one of them, and that one calls `release`.
    """

    __slots__ = ("_admission", "_connection", "_host")

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission
        self._host: str | None = None
        self._connection: Connection | None = None

    def enter_host(self, host: str) -> bool:
        """Count a connection of this host; return false, counting nothing, where the host already has its share."""
        assert self._admission is not None
        hosts = self._admission.hosts
        if hosts is None:
            return True
        if not hosts.enter(host):
            return False
        self._host = host
        return True

    def enter_proxied_host(self, host: str) -> bool:
        """Do what `enter_host` does for a connection that has been accepted: where it returns false, count a rejection.

        Called by the thread that serves the connection.
        """
        admission = self._admission
        if admission is None:  # the server has stopped without waiting for this thread
            return False
        entered = self.enter_host(host)
        if not entered:
            admission.metrics.rejected()
        return entered

    def enter(self, connection: Connection) -> None:
        """Enter a connection in the metrics and the registry, before it is given to a thread.

        It may end before that call returns.
        """
        assert self._admission is not None
        metrics, registry = self._admission.metrics, self._admission.registry
        metrics.opened(connection.stats)
        try:
            registry.add(connection)
        except BaseException:  # no memory: counted, and gone at once
            metrics.closed(connection.stats, CloseReason.KILLED)
            raise
        self._connection = connection

    def fold(self, reason: CloseReason) -> bool:
        """Count the end of the connection, once; return whether this call did.

        `release` follows, from whoever this returned true to. Between the two the connection is logged, so that a drain
        that sees the registry empty prints totals that are complete.
        """
        admission, connection = self._admission, self._connection
        return admission is not None and connection is not None and admission.metrics.closed(connection.stats, reason)

    def release(self) -> None:
        """Give back everything that the lease holds. A second call does nothing."""
        admission, self._admission = self._admission, None
        if admission is None:
            return
        connection, self._connection = self._connection, None
        host, hosts = self._host, admission.hosts
        try:
            if host is not None and hosts is not None:
                insist(lambda: hosts.leave(host))
            if connection is not None:
                insist(lambda: admission.registry.remove(connection))
        finally:
            admission.places.release()
            if admission.place_wanted and admission.waker is not None:
                admission.waker.wake()


def insist(action: Callable[[], T]) -> T:
    """Do what must not be left undone: a second time if there was no memory for it the first time."""
    try:
        return action()
    except MemoryError:
        return action()
