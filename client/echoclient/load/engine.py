"""The loop: one thread, one poller, non-blocking sockets. What to send and when is for a `Workload` to say."""

from __future__ import annotations

import math
import os
import time
from itertools import cycle
from typing import TYPE_CHECKING

from echoclient.load import faults
from echoclient.load.connection import Connection
from echoclient.load.faults import Fault, FaultLog
from echoclient.load.pattern import CHUNK, PERIOD, Pattern
from echoclient.load.poller import READ, WRITE, Poller
from echoclient.load.recorder import INTERVAL
from echoclient.load.stream import WrongReplyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.connection import Address
    from echoclient.load.plan import Plan, Share
    from echoclient.load.recorder import Recorder
    from echoclient.load.workload import Workload

# Handshakes under way at once. More would overflow a listener's backlog, and a dropped SYN comes back a second later.
_MOST_OPENING = 64
# Folding so many latencies takes some 0.1 ms.
_FOLD_AT = 512
# Without a time limit, a run in which no connection can be opened still ends after this many seconds.
_PATIENCE = 5.0


class Engine:
    """A process's connections, and the loop that serves them.

    Attributes:
        connections: all of this process's, open or not.
        recorder: of the phase that is running.
        log: what went wrong, over all phases.
        lost: messages lost with connections that failed.
        measuring: whether the phase that is running is the measured one.
        stop: set to end the phase now.
        given_up: why the run can't go on, in words; empty if it can.
        on_tick: called ten times a second with the time.
    """

    def __init__(self, plan: Plan, share: Share, family: int, address: Address, recorder: Recorder) -> None:
        self.recorder = recorder
        self.log = FaultLog()
        self.lost = 0
        self.measuring = False
        self.stop = False
        self.given_up = ""
        self.on_tick: Callable[[float], None] = lambda _: None
        self._family, self._address = family, address
        sources = plan.sources or ("",)
        first = share.first % len(sources)  # so that processes with few connections use all of them between them
        self._sources = cycle(sources[first:] + sources[:first])
        self._poller = Poller()
        self._pattern = pattern = Pattern(plan.expect, plan.seed)
        numbers = range(share.first, share.first + share.connections)
        self.connections = [Connection(number, pattern, verify=plan.verify) for number in numbers]
        self._untried = list(reversed(self.connections))
        self._opening = 0
        # By descriptor, which the kernel gives out lowest first.
        self._table: list[Connection | None] = []
        self._control = Connection(-1, pattern, verify=False)
        self._on_control: Callable[[bytes], None] = lambda _: None
        self._limit = plan.timeout or math.inf
        self._patience = plan.timeout or _PATIENCE
        # One byte more than can be due, so that a server which says too much is found out.
        self._most = min(plan.largest * plan.pipeline + 1, CHUNK)
        self._workload: Workload
        self._alive = (0.0, 0)

    def watch(self, descriptor: int, react: Callable[[bytes], None]) -> None:
        """Have ``react`` called with what arrives on a descriptor, ``b""`` at its end, whatever else goes on."""
        self._on_control = react
        self._control.descriptor, self._control.connected = descriptor, True
        self._enter(self._control, READ)

    def close(self) -> None:
        """Close every connection and the poller."""
        for connection in self.connections:
            self._drop(connection)
        self._poller.close()

    # -- for workloads

    def open_more(self, now: float) -> bool:
        """Open connections yet to be tried, as many as may be under way; say whether all are open or failed."""
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
        """Close a connection whose work is done; if there is more after the warm-up, it is opened again for that."""
        self._drop(connection)
        self._untried.append(connection)

    def send(self, connection: Connection) -> None:
        """Send what the kernel takes of the connection's unsent bytes, and watch for room for the rest."""
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
            self._fail(connection, *faults.kind_of(error))
            return
        if connection.wants_write != bool(connection.unsent):
            connection.wants_write = not connection.wants_write
            self._poller.modify(connection.descriptor, READ | WRITE if connection.wants_write else READ)

    # -- connections

    def _open(self, connection: Connection, now: float) -> None:
        try:
            ready = connection.open(self._family, self._address, next(self._sources), now)
            self._enter(connection, READ if ready else WRITE)
        except OSError as error:
            self._fail(connection, *faults.kind_of(error))
            return
        if ready:
            self._workload.opened(connection, time.monotonic())
        else:
            self._opening += 1

    def _advance(self, connection: Connection) -> None:
        try:
            if not connection.advance(self._address):
                return
        except OSError as error:
            self._fail(connection, *faults.kind_of(error))
            return
        self._opening -= 1
        self._poller.modify(connection.descriptor, READ)
        self._workload.opened(connection, time.monotonic())

    def _enter(self, connection: Connection, events: int) -> None:
        descriptor = connection.descriptor
        self._poller.register(descriptor, events)
        if descriptor >= len(self._table):
            self._table += [None] * (descriptor + 64 - len(self._table))
        self._table[descriptor] = connection

    def _drop(self, connection: Connection) -> None:
        descriptor = connection.descriptor
        if 0 <= descriptor < len(self._table) and self._table[descriptor] is connection:
            self._table[descriptor] = None
            self._poller.unregister(descriptor)
            self._opening -= not connection.connected
        connection.close()

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

    def _fail_late(self, connection: Connection) -> None:
        connection.settle()
        waited = f"within {self._limit:g} s"
        if connection.partial:
            detail = f"{connection.partial} of {connection.flight[0].size} bytes of a reply came {waited}"
            self._fail(connection, faults.SHORT, detail)
        else:
            self._fail(connection, faults.TIMEOUT, f"no reply {waited}")

    def _fail_ended(self, connection: Connection) -> None:
        connection.settle()
        if connection.partial:
            size = connection.flight[0].size
            self._fail(connection, faults.SHORT, f"closed after {connection.partial} of {size} bytes of a reply")
        else:
            due = connection.under_way
            self._fail(connection, faults.CLOSED, f"closed with {due} replies due" if due else "closed while idle")

    # -- the loop

    def run(self, workload: Workload, recorder: Recorder) -> None:
        """Serve the connections until the workload is finished, or `stop` is set, or nobody answers any more."""
        self._workload, self.recorder = workload, recorder
        clock, read, write, table, most = time.monotonic, os.read, os.write, self._table, self._most
        fresh = recorder.latency.fresh
        append, size = fresh.append, workload.size
        sent, awaited = self._pattern.sent, self._pattern.awaited
        echo = sent is awaited
        quick = 0
        now = clock()
        self._alive = now, 0
        # On the recorder's grid, so that an interval holds what happened in it and no more.
        next_tick = recorder.start + INTERVAL
        for connection in self.connections:
            if connection.connected:
                workload.opened(connection, now)
        while not (self.stop or workload.finished(now)):
            wake = workload.pump(now)
            if wake < next_tick:
                events = self._poller.poll_precisely(wake - clock())
            else:  # rounding up to a millisecond does a tick no harm
                events = self._poller.poll(max(next_tick - now, 0))
            # Each event sends at most one message the fast way, so that the budget can't be overdrawn.
            plenty = workload.budget > len(events)
            for descriptor, event in events:
                found = table[descriptor]
                if found is None or event != READ:
                    self._other(found, event)
                    continue
                try:
                    data = read(descriptor, most)
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._fail(found, *faults.kind_of(error))
                    continue
                if data != found.lone_reply or not plenty:
                    self._received(found, data)
                    continue
                # The path that has to be fast: a whole short reply, and then the next message. What follows is
                # `Stream.issue_lone`, inlined.
                now = clock()
                append(now - found.lone_sent)
                begin = found.issued % PERIOD
                end = begin + size
                message = sent[begin:end]
                found.issued += size
                found.lone_reply = message if echo else awaited[begin:end]
                found.lone_sent = now
                quick += 1
                try:
                    taken = write(descriptor, message)
                except BlockingIOError:
                    taken = 0
                except OSError as error:
                    self._fail(found, *faults.kind_of(error))
                    continue
                if taken != size:
                    found.unsent = size - taken
                    self.send(found)
            workload.budget -= quick
            quick = 0
            if len(fresh) >= _FOLD_AT:
                recorder.fold()
            now = clock()
            if now >= next_tick:
                self._tick(now)
                next_tick += math.ceil((now - next_tick) / INTERVAL) * INTERVAL or INTERVAL

    def _other(self, connection: Connection | None, event: int) -> None:
        if connection is None:  # a late event for a descriptor that was given back in this very round
            return
        if not connection.connected:
            self._advance(connection)
            return
        if event & WRITE:
            self.send(connection)
        if event & ~WRITE and connection.connected:
            try:
                data = os.read(connection.descriptor, self._most)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(connection, *faults.kind_of(error))
                return
            self._received(connection, data)

    def _received(self, connection: Connection, data: bytes) -> None:
        if connection is self._control:
            if not data:
                self._poller.unregister(connection.descriptor)
            self._on_control(data)
        elif not data:
            self._fail_ended(connection)
        else:
            now = time.monotonic()
            try:
                done = connection.receive(data, now, self.recorder)
            except WrongReplyError as wrong:
                self._fail(connection, faults.CORRUPT if wrong.corrupt else faults.EXTRA, wrong.detail, wrong.offset)
                return
            if done:
                self._workload.answered(connection, done, now)

    def _tick(self, now: float) -> None:
        self.recorder.tick(now)
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
        since, answered = self._alive
        if connected or self.recorder.answered > answered:
            self._alive = now, self.recorder.answered
        elif now - since > self._patience:
            self.given_up = f"no connection could be opened for {self._patience:g} s"
            self.stop = True
        self.on_tick(now)
