"""The connections of one process: opened, watched, sent on and closed, and what goes wrong with them counted."""

from __future__ import annotations

import math
import os
import time
from itertools import cycle
from typing import TYPE_CHECKING

from echoclient.load import faults
from echoclient.load.connection import Connection
from echoclient.load.faults import Fault, FaultLog
from echoclient.load.pattern import Pattern
from echoclient.load.poller import READ, WRITE, Poller

if TYPE_CHECKING:
    from echoclient.load.connection import Address
    from echoclient.load.plan import Plan, Share
    from echoclient.load.recorder import Recorder
    from echoclient.load.stream import WrongReplyError
    from echoclient.load.workload import Workload

# Handshakes in progress at once. More would overflow a listener's backlog, and a dropped SYN is sent again only after a
# second.
_MOST_OPENING = 64


class ConnectionPool:
    """A process's connections and their poller. Everything here happens in the engine's one thread.

    Attributes:
        connections: all of this process's, open or not.
        pattern: what is sent and expected on them.
        poller: watches the open ones.
        table: connections by descriptor, which the kernel gives out lowest first.
        recorder: of the running phase.
        log: what went wrong, over all phases.
        lost: messages lost with connections that failed.
        measuring: whether the running phase is the measured one.
    """

    _make: type[Connection] = Connection

    def __init__(self, plan: Plan, share: Share, family: int, address: Address) -> None:
        self._target = plan.target
        self.log = FaultLog()
        self.lost = 0
        self.measuring = False
        self._family, self._address = family, address
        sources = plan.sources or ("",)
        first = share.first % len(sources)  # so that processes with few connections use all sources between them
        self._sources = cycle(sources[first:] + sources[:first])
        self.poller = Poller()
        self.pattern = pattern = Pattern(plan.expect, plan.seed)
        numbers = range(share.first, share.first + share.connections)
        self.connections = [self._make(number, pattern, plan.target, verify=plan.verify) for number in numbers]
        self._untried = list(reversed(self.connections))
        self._opening = 0
        self.table: list[Connection | None] = []
        self._limit = plan.timeout or math.inf
        self.recorder: Recorder
        self._workload: Workload

    def begin(self, workload: Workload, recorder: Recorder) -> None:
        """Start a phase."""
        self._workload, self.recorder = workload, recorder

    def close(self) -> None:
        """Close every connection and the poller."""
        for connection in self.connections:
            self._drop(connection)
        self.poller.close()

    # -- for workloads

    def open_more(self, now: float) -> bool:
        """Open untried connections, as many as may be in progress; return whether each is open or has failed."""
        while self._untried and self._opening < _MOST_OPENING and self._workload.may_open():
            self._open(self._untried.pop(), now)
        return not self._untried and not self._opening

    def replace(self, connection: Connection, number: int, now: float) -> None:
        """Close a connection whose work is done, and open it again as number ``number``."""
        self._drop(connection)
        connection.number = number
        connection.pause = 0.0
        self._open(connection, now)

    def retire(self, connection: Connection) -> None:
        """Close a connection whose work is done; if a phase follows the warm-up, it opens the connection again."""
        self._drop(connection)
        self._untried.append(connection)

    def send(self, connection: Connection) -> None:
        """Send what the kernel takes of the connection's unsent bytes, and watch until it can take the rest."""
        try:
            while connection.unsent:
                piece = connection.next_piece()
                taken = os.write(connection.descriptor, piece)
                connection.unsent -= taken
                if taken < len(piece):
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail_with(connection, error)
            return
        if connection.wants_write != bool(connection.unsent):
            connection.wants_write = not connection.wants_write
            self.poller.modify(connection.descriptor, READ | WRITE if connection.wants_write else READ)

    # -- opening and closing

    def watch(self, connection: Connection, events: int) -> None:
        """Register a connection's descriptor with the poller."""
        descriptor = connection.descriptor
        self.poller.register(descriptor, events)
        if descriptor >= len(self.table):
            self.table += [None] * (descriptor + 64 - len(self.table))
        self.table[descriptor] = connection

    def advance(self, connection: Connection) -> None:
        """Continue a connect whose socket has become writable."""
        try:
            if not connection.advance(self._address):
                return
        except OSError as error:
            self.fail_with(connection, error)
            return
        self._opening -= 1
        self.poller.modify(connection.descriptor, READ)
        self._workload.opened(connection, time.monotonic())

    def tick(self, now: float) -> bool:
        """Enforce the time limit, open again what is due for it, and return whether anything was connected."""
        connected = False
        for connection in self.connections:
            if connection.connected:
                connected = True
                oldest = connection.oldest
                if oldest is not None and now - oldest > self._limit:
                    self._fail_late(connection)
            elif connection.descriptor >= 0:
                if now - connection.began > self._limit:
                    self._fail(connection, faults.TIMEOUT, f"no connection within {self._limit:g} s")
            elif connection.retry_at <= now and self._workload.may_open():
                self._open(connection, now)
        return connected

    def _open(self, connection: Connection, now: float) -> None:
        try:
            ready = connection.open(self._family, self._address, next(self._sources), now)
            self.watch(connection, READ if ready else connection.awaits)
        except OSError as error:
            self.fail_with(connection, error)
            return
        if ready:
            self._workload.opened(connection, time.monotonic())
        else:
            self._opening += 1

    def _drop(self, connection: Connection) -> None:
        descriptor = connection.descriptor
        if 0 <= descriptor < len(self.table) and self.table[descriptor] is connection:
            self.table[descriptor] = None
            self.poller.unregister(descriptor)
            self._opening -= not connection.connected
        connection.close()

    # -- failing

    def fail_with(self, connection: Connection, error: OSError) -> None:
        """Give a connection up because of what a system call on it raised."""
        self._fail(connection, *faults.kind_of(error))

    def fail_wrong(self, connection: Connection, wrong: WrongReplyError) -> None:
        """Give a connection up because the server sent something other than the reply."""
        self._fail(connection, faults.CORRUPT if wrong.corrupt else faults.EXTRA, wrong.detail, wrong.offset)

    def fail_ended(self, connection: Connection) -> None:
        """Give a connection up because the server closed it."""
        connection.settle()
        if connection.partial:
            size = connection.flight[0].size
            self._fail(connection, faults.SHORT, f"closed after {connection.partial} of {size} bytes of a reply")
        else:
            due = connection.under_way
            self._fail(connection, faults.CLOSED, f"closed with {due} replies due" if due else "closed while idle")

    def _fail_late(self, connection: Connection) -> None:
        connection.settle()
        waited = f"within {self._limit:g} s"
        if connection.partial:
            detail = f"{connection.partial} of {connection.flight[0].size} bytes of a reply came {waited}"
            self._fail(connection, faults.SHORT, detail)
        else:
            self._fail(connection, faults.TIMEOUT, f"no reply {waited}")

    def _fail(self, connection: Connection, kind: str, detail: str, offset: int | None = None) -> None:
        """Count a fault and give the connection up; a tick opens it again."""
        now = time.monotonic()
        connection.settle()
        at = connection.offset if offset is None else offset
        since = now - self.recorder.start if self.measuring else None
        self.log.add(Fault(kind, connection.number, at, since, detail))
        self.lost += self._workload.lost(connection)
        connection.plan_retry(now)
        self._drop(connection)
        connection.restart(connection.number)
