"""The acceptor: it accepts peers as long as there is a place for them.

A place is taken before the accept, so that a peer for which there is none stays in the kernel's queue. The acceptor has
no thread and never waits. Whoever has one - a thread of its own, or the poller (`accepting.py`) - tells it which
listeners are readable.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import sys
from collections.abc import Sequence
from threading import Event
from time import monotonic

from echoserver.clock import Deadline, Throttle
from echoserver.config import ServerConfig
from echoserver.net.listener import Listener
from echoserver.net.unix import welcome
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason
from echoserver.observe.telling import tell
from echoserver.serving.admission import Admission, Lease
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.place_wait import PlaceWait, Watching

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
# How many peers to accept before the other connections, or the other processes, get their turn.
_IN_A_ROW, _IN_A_ROW_SHARED = 64, 1
# The kernel tells the process that has begun to listen last, unless that is busy. So each begins anew in turn.
_BEGIN_ANEW = 16


class Acceptor:
    """Accepts, in the thread that calls it; only `stop` is for any other.

    Parameters
    ----------
    config:
        What becomes of peers for which there is no place.
    admission:
        The places.
    lifecycle:
        Takes over accepted sockets.
    log:
        For what stands in the way of accepting.
    exclusively:
        Whether other processes may accept from the same listeners.

    """

    def __init__(
        self, config: ServerConfig, admission: Admission, lifecycle: Lifecycle, log: Logger, *, exclusively: bool
    ) -> None:
        self._config = config
        self._admission = admission
        self._lifecycle = lifecycle
        self._log = log
        self._stopping = Event()
        self._retired = False  # written before `_stopping` is set
        self._deadline = Deadline(0)  # how long peers in the kernel's queue are accepted; set before `_stopping`
        # From here on, the accepting thread's own.
        self.listeners: dict[int, Listener] = {}
        """The listeners by their descriptors."""
        self._watching: Watching | None = None
        self._watched: set[int] = set()
        self._wait = PlaceWait(admission)
        self._paused: dict[int, float] = {}  # listeners that met a shortage, and until when it is waited out
        self.exclusively = exclusively
        """Whether other processes accept from the same listeners."""
        self._until_anew = _BEGIN_ANEW
        self._short_of = ""  # by the last shortage
        self._warn_limit = Throttle(1.0)
        self._warn_host = Throttle(1.0)
        self._warn_shortage = Throttle(1.0)

    @property
    def short_of(self) -> str:
        """What it is short of now, as errno(3) names it; empty if nothing. For any thread."""
        return self._short_of if self._paused else ""

    @property
    def stopping(self) -> bool:
        """Whether it is to stop."""
        return self._stopping.is_set()

    def use(self, config: ServerConfig) -> None:
        """Do as another configuration says with peers for which there is no place; from any thread."""
        self._config = config

    def stop(self, deadline: Deadline) -> None:
        """Have it accept what waits in the kernel's queue, and no more. Wake the accepting thread after this.

        Parameters
        ----------
        deadline:
            How long waiting peers may still be accepted.

        """
        self._deadline = deadline
        self._stopping.set()

    def retire(self) -> None:
        """Have it leave new peers to other processes. Wake the accepting thread after this."""
        self._retired = True
        self._stopping.set()

    # -- the accepting thread

    def adopt(self, listeners: Sequence[Listener], watching: Watching) -> None:
        """Take over the listeners, and have them watched."""
        self.listeners = {listener.fileno(): listener for listener in listeners}
        self._watching = watching
        self._watch_all()

    def close(self) -> None:
        """Close the listeners."""
        # A listener may be shared with other processes, which go on. So it is closed here and never shut down; and the
        # kernel would go on telling of a descriptor that is closed but shared.
        if self._watching is not None:
            self._unwatch_all()
        for listener in self.listeners.values():
            listener.close()

    def pause(self) -> float | None:
        """Return after how many seconds to call `resume`, if nothing happens before; `None` if that is not needed."""
        until = min([self._wait.look_again_at, *self._paused.values()])
        return None if until == math.inf else max(0.0, until - monotonic())

    def resume(self) -> None:
        """Go on accepting if there is a place again, and if a shortage is over. Called after each wake-up."""
        if self._wait.waits:
            if not self._wait.is_over():
                return
        elif not self._paused:
            return
        now = monotonic()
        self._paused = {descriptor: until for descriptor, until in self._paused.items() if until > now}
        self._watch_all()

    def accept_some(self, listener: Listener) -> None:
        """Accept what waits at this listener, up to a number that still gives others their turn."""
        for accepted in range(_IN_A_ROW_SHARED if self.exclusively else _IN_A_ROW):
            # It is no longer watched where all wait for a place since another listener of the same batch.
            if listener.fileno() not in self._watched or self._stopping.is_set():
                return
            # Of several processes, each would otherwise take a place for the same peer, and reject others meanwhile.
            if self._admission.shared is not None and self._config.at_limit == "reject":
                self._accept(listener, None)
                return
            lease = self._admission.take_place()
            # At the limit: right after the kernel has said so, a peer waits for certain; later, ask it first.
            if lease is None and (accepted or (lease := self._at_limit(listener)) is None):
                return
            if not self._accept(listener, lease):
                return

    def accept_from(self, descriptor: int) -> None:
        """Accept what waits at a listener, if that is whose descriptor is readable."""
        listener = self.listeners.get(descriptor)
        if listener is not None:
            self.accept_some(listener)
        elif self._wait.heard(descriptor):
            self.resume()

    def accept_waiting(self) -> None:
        """Accept what waits in the kernel's queue when the server stops: closing the listener would reset it.

        As far as there are places, and as many as that queue can hold, since peers go on coming. Each is asked to end
        at once and so is answered what it has already sent, like the connections that are open.

        One that retires does so for another reason, and serves them: the kernel may have told only this process of
        them, and would tell the others no more than that a further peer has come. What comes after the listeners are
        no longer watched is for the others.
        """
        self._unwatch_all()
        for listener in self.listeners.values():
            for _ in range(self._config.backlog + 1):
                lease = None if self._deadline.expired else self._admission.take_place()
                if lease is None or not self._accept(listener, lease):
                    break

    def _watch_all(self) -> None:
        assert self._watching is not None, "adopt() comes first"
        for descriptor in self.listeners:
            if descriptor not in self._watched and descriptor not in self._paused:
                self._watching.watch(descriptor, exclusively=self.exclusively)
                self._watched.add(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        assert self._watching is not None, "adopt() comes first"
        if descriptor in self._watched:
            self._watched.remove(descriptor)
            self._watching.unwatch(descriptor)

    def _unwatch_all(self) -> None:
        for descriptor in self.listeners:
            self._unwatch(descriptor)

    def _accept(self, listener: Listener, lease: Lease | None) -> bool:
        """Accept one peer, and close it if there is no place, then or before; return whether to try for another."""
        try:
            sock, address = listener.sock.accept()
        except OSError as error:
            if lease is not None:
                lease.release()
            if error.errno in _SHORTAGE:
                self._pause_for(listener, error)
            elif error.errno in _PEER_GONE:
                return True
            elif error.errno != errno.EAGAIN:
                raise
            return False
        except BaseException:  # no memory
            if lease is not None:
                lease.release()
            raise
        if lease is None and (lease := self._admission.take_place()) is None:
            self._warn_of_limit()
            self._admission.metrics.rejected()  # counted first, as below
            sock.close()
            return False
        if not isinstance(address, tuple):  # a unix socket: its peers are processes of this machine, which have no host
            address = welcome(sock)
        elif not listener.endpoint.proxy and not lease.enter_host(address[0]):
            lease.release()
            self._reject(sock, address[0])
            return True
        if self.exclusively:
            self._give_others_a_turn()
        connection = self._lifecycle.admit(sock, address, listener, lease)
        if connection is not None and self._stopping.is_set() and not self._retired:
            connection.end(CloseReason.DRAINED)
        return True

    def _reject(self, sock: socket.socket, host: str) -> None:
        """Close the connection of a peer whose host has as many as one host may have."""
        if self._warn_host.ready():
            limit = self._config.max_connections_per_host
            tell(self._log.warning, "connection limit of a host reached", host=host, limit=limit)
        # Counted first, so that the count is right by the time the peer knows.
        self._admission.metrics.rejected()
        sock.close()

    def _at_limit(self, listener: Listener) -> Lease | None:
        """Deal with a peer that waits while all places are taken; return a place, or `None`."""
        if self._config.at_limit == "reject":
            self._accept(listener, None)
            return None
        self._warn_of_limit()
        self._admission.metrics.held()
        assert self._watching is not None, "adopt() comes first"
        lease = self._wait.begin(self._watching)
        if lease is None:
            self._unwatch_all()
        return lease

    def _warn_of_limit(self) -> None:
        if self._warn_limit.ready():
            active, limit = len(self._admission.registry), self._config.max_connections
            tell(self._log.warning, "connection limit reached", active=active, limit=limit)

    def _give_others_a_turn(self) -> None:
        """Begin to listen anew, once in a while: the kernel would tell the same process of all peers (epoll(7))."""
        self._until_anew -= 1
        if not self._until_anew:
            self._until_anew = _BEGIN_ANEW
            self._unwatch_all()
            self._watch_all()

    def _pause_for(self, listener: Listener, error: OSError) -> None:
        self._short_of = errno.errorcode.get(error.errno or 0, "?")
        if self._warn_shortage.ready():
            active = len(self._admission.registry)
            reason = os.strerror(error.errno or 0)
            tell(self._log.warning, "cannot accept for now", error=self._short_of, reason=reason, active=active)
        self._paused[listener.fileno()] = monotonic() + _SHORTAGE_PAUSE
        self._unwatch(listener.fileno())
