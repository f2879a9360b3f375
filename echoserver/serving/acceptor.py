"""The acceptor: one thread that accepts peers as long as there is a place for them.

A place is taken before the accept, so that a peer for which there is none stays in the kernel's queue.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
import sys
from contextlib import ExitStack
from threading import Event, Thread

from echoserver.clock import Deadline, Throttle
from echoserver.config import ServerConfig
from echoserver.net.listener import Listener
from echoserver.net.unix import welcome
from echoserver.net.waker import Waker
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason
from echoserver.observe.telling import tell
from echoserver.serving.admission import Admission, Lease
from echoserver.serving.affinity import Affinity
from echoserver.serving.lifecycle import Lifecycle

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
_LOOK_AGAIN_MS = 200
_SHORTAGE_PAUSE = 0.1
_ACCEPTS_IN_A_ROW = 64


class Acceptor:
    """The thread that accepts.

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
    affinity:
        Where the thread runs.

    """

    def __init__(
        self,
        config: ServerConfig,
        admission: Admission,
        lifecycle: Lifecycle,
        log: Logger,
        affinity: Affinity,
    ) -> None:
        self._config = config
        self._admission = admission
        self._lifecycle = lifecycle
        self._log = log
        self._affinity = affinity
        self._listeners: list[Listener] = []
        self.thread = Thread(target=self._run, name="acceptor", daemon=True)
        self._retired = False
        self._stopping = Event()
        self.rounds = 0
        """How often the thread has been woken; its own. See `pulse.py`."""
        self._deadline = Deadline(0)  # how long peers in the kernel's queue are accepted; set before `_stopping`
        # The acceptor's own.
        self._warn_limit = Throttle(1.0)
        self._warn_host = Throttle(1.0)
        self._warn_shortage = Throttle(1.0)

    def adopt(self, listeners: list[Listener]) -> None:
        """Take over the listeners: from here on `stop` closes them.

        All descriptors that accepting needs are made here, so that it goes on where there are none left.

        Raises
        ------
        OSError
            There are no descriptors left. The listeners have been closed.

        """
        with ExitStack() as undo:
            for listener in listeners:
                undo.callback(listener.close)
            self._waker = self._admission.waker = Waker()
            undo.callback(self._waker.close)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            for listener in listeners:
                self._selector.register(listener, selectors.EVENT_READ, listener)
            self._selector.register(self._waker.fileno(), selectors.EVENT_READ)
            self._listeners = listeners
            undo.pop_all()

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self, deadline: Deadline, grace: Deadline) -> list[Thread]:
        """Accept what already waits in the kernel's queue, then close the listeners and end the thread.

        Parameters
        ----------
        deadline:
            How long waiting peers may still be accepted.
        grace:
            How long the thread may take to end.

        Returns
        -------
        list of Thread
            The thread, if it is still alive.

        """
        self._deadline = deadline
        self._stopping.set()
        if self.thread.ident is None:  # it was never started, because something else failed to
            self._close_listeners()
            return []
        self._waker.wake()
        self.thread.join(grace.timeout())
        return [self.thread] if self.thread.is_alive() else []

    def retire(self) -> None:
        """Accept no more; peers that wait in the kernel's queue are for the other processes that listen there."""
        self._retired = True
        self._stopping.set()
        self._waker.wake()

    def nudge(self) -> None:
        """Wake the thread; see `pulse.py`."""
        self._waker.wake()

    def close(self) -> None:
        """Give the waker back, once no connection is left that would use it."""
        if self._listeners:
            self._waker.close()

    # -- from here on, the acceptor thread

    def _run(self) -> None:
        try:
            self._affinity.pin()
            while not self._stopping.is_set():
                for key, _ in self._selector.select():
                    if key.data is None:
                        self.rounds += 1
                        self._waker.clear()
                    else:
                        self._accept_some(key.data)
            if not self._retired:
                self._accept_waiting()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a server that accepts nothing must say so
            self._lifecycle.fail(error)
        finally:
            self._close_listeners()

    def _close_listeners(self) -> None:
        # A listener may be shared with other processes, which go on: it is closed here and never shut down.
        for listener in self._listeners:
            listener.close()
        if self._listeners:
            self._selector.close()

    def _accept_some(self, listener: Listener) -> None:
        """Accept what waits at this listener, up to a number that still gives the other listeners their turn."""
        for accepted in range(_ACCEPTS_IN_A_ROW):
            if self._stopping.is_set():
                return
            lease = self._admission.take_place()
            # At the limit: right after the selector has said so, a peer waits for certain; later, ask it first.
            if lease is None and (accepted or (lease := self._at_limit(listener)) is None):
                return
            if not self._accept(listener, lease):
                return

    def _accept_waiting(self) -> None:
        """Accept what waits in the kernel's queue when the server stops: closing the listener would reset it.

        As far as there are places, and as many as that queue can hold, since peers go on coming. Each is asked to end
        at once and so is answered what it has already sent, like the connections that are open.
        """
        for listener in self._listeners:
            for _ in range(self._config.backlog + 1):
                lease = None if self._deadline.expired else self._admission.take_place()
                if lease is None or not self._accept(listener, lease):
                    break

    def _accept(self, listener: Listener, lease: Lease) -> bool:
        """Accept one peer; return whether to try for another."""
        try:
            sock, address = listener.sock.accept()
        except OSError as error:
            lease.release()
            if error.errno in _SHORTAGE:
                self._pause_for(error)
            elif error.errno in _PEER_GONE:
                return True
            elif error.errno != errno.EAGAIN:
                raise
            return False
        except BaseException:  # no memory
            lease.release()
            raise
        if not isinstance(address, tuple):  # a unix socket: its peers are processes of this machine, which have no host
            address = welcome(sock)
        elif not listener.endpoint.proxy and not lease.enter_host(address[0]):
            lease.release()
            self._reject(sock, address[0])
            return True
        connection = self._lifecycle.admit(sock, address, listener, lease)
        if connection is not None and self._stopping.is_set():
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
        if self._warn_limit.ready():
            active, limit = len(self._admission.registry), self._config.max_connections
            tell(self._log.warning, "connection limit reached", active=active, limit=limit)
        if self._config.at_limit == "wait":
            self._admission.metrics.held()
            return self._wait_for_place()
        try:
            sock, _ = listener.sock.accept()
        except OSError as error:
            if error.errno in _SHORTAGE:
                self._pause_for(error)
            elif error.errno != errno.EAGAIN and error.errno not in _PEER_GONE:
                raise
            return None
        self._admission.metrics.rejected()  # counted first, as above
        sock.close()
        return None

    def _wait_for_place(self) -> Lease | None:
        """Wait until a connection ends, and return its place; return `None` when the server stops.

        The acceptor says that it wants a place and then tries once more; `Lease.release` gives one back and then looks
        whether one is wanted. Whichever comes second sees the other: either this try gets the place, or `release` wakes
        the acceptor.
        """
        admission = self._admission
        admission.place_wanted = True
        shared = admission.shared
        # poll(2) takes no descriptor of its own, and there may be none left.
        poll = select.poll()
        poll.register(self._waker.fileno(), select.POLLIN)
        if shared is not None:
            poll.register(shared.freed, select.POLLIN)
            shared.want(wanted=True)
        try:
            while (lease := admission.take_place()) is None and not self._stopping.is_set():
                poll.poll(None if shared is None else _LOOK_AGAIN_MS)
                self.rounds += 1
                self._waker.clear()
                if shared is not None:
                    shared.look()
            return lease
        finally:
            if shared is not None:
                shared.want(wanted=False)
            admission.place_wanted = False

    def _pause_for(self, error: OSError) -> None:
        if self._warn_shortage.ready():
            name = errno.errorcode.get(error.errno or 0, "?")
            active = len(self._admission.registry)
            reason = os.strerror(error.errno or 0)
            tell(self._log.warning, "cannot accept for now", error=name, reason=reason, active=active)
        self._stopping.wait(_SHORTAGE_PAUSE)
