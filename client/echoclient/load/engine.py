"""The event loop: one thread, one poller, non-blocking sockets. A `Workload` decides what to send and when."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from echoclient.load.connection import Connection
from echoclient.load.pattern import CHUNK, PERIOD
from echoclient.load.poller import READ, WRITE
from echoclient.load.recorder import INTERVAL
from echoclient.load.stream import WrongReplyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.plan import Plan
    from echoclient.load.pool import ConnectionPool
    from echoclient.load.recorder import Recorder
    from echoclient.load.workload import Workload

# Folding this many latencies takes some 0.1 ms.
_FOLD_AT = 512
# Without a time limit, a run in which no connection can be opened still ends after this many seconds.
_GIVE_UP_AFTER = 5.0


class Engine:
    """The loop that serves a process's connections.

    Attributes:
        stop: set to end the phase now.
        given_up: why the run can't go on; empty if it can.
        on_tick: called ten times a second with the time.
    """

    def __init__(self, plan: Plan, pool: ConnectionPool) -> None:
        self.stop = False
        self.given_up = ""
        self.on_tick: Callable[[float], None] = lambda _: None
        self._pool = pool
        self._control = Connection(-1, pool.pattern, plan.target, verify=False)
        self._on_control: Callable[[bytes], None] = lambda _: None
        self._give_up_after = plan.timeout or _GIVE_UP_AFTER
        # One byte more than can be due, so that a server that sends too much is detected.
        self._most = min(plan.largest * plan.pipeline + 1, CHUNK)
        self._workload: Workload
        # When something was last connected or answered, and how many messages were answered by then.
        self._alive = (0.0, 0)

    def watch(self, descriptor: int, react: Callable[[bytes], None]) -> None:
        """Call ``react`` with what arrives on a descriptor, and with ``b""`` at its end, whatever phase is running."""
        self._on_control = react
        self._control.descriptor, self._control.connected = descriptor, True
        self._pool.watch(self._control, READ)

    def run(self, workload: Workload, recorder: Recorder) -> None:
        """Serve the connections until the workload is finished, `stop` is set, or no connection can be opened."""
        self._workload = workload
        pool, poller, clock = self._pool, self._pool.poller, time.monotonic
        pool.begin(workload, recorder)
        serve, fresh = self._event_handler(workload, recorder), recorder.latency.fresh
        now = clock()
        self._alive = now, 0
        # On the recorder's grid, so that an interval holds what happened in it and no more.
        next_tick = recorder.start + INTERVAL
        for connection in pool.connections:
            if connection.connected:
                workload.opened(connection, now)
        while not (self.stop or workload.finished(now)):
            wake = workload.pump(now)
            # Only a message has to be on time: a tick may be up to a millisecond late.
            precise = wake < next_tick
            events = poller.poll_precisely(wake - clock()) if precise else poller.poll(max(next_tick - now, 0))
            sent = serve(events)  # on a line of its own, because it changes the budget too
            workload.budget -= sent
            if len(fresh) >= _FOLD_AT:
                recorder.fold()
            now = clock()
            if now >= next_tick:
                self._tick(now)
                next_tick += math.ceil((now - next_tick) / INTERVAL) * INTERVAL or INTERVAL

    def _event_handler(self, workload: Workload, recorder: Recorder) -> Callable[[list[tuple[int, int]]], int]:
        """Return the function that handles the events of one poll and returns how many messages it sent by itself.

        It is a closure because it has to be fast: whatever it uses is a local variable.
        """
        pool, table, most = self._pool, self._pool.table, self._most
        append, size = recorder.latency.fresh.append, workload.size
        sent, awaited = pool.pattern.sent, pool.pattern.awaited
        echo = sent is awaited
        clock, read, write = time.monotonic, os.read, os.write

        def serve(events: list[tuple[int, int]]) -> int:
            quick = 0
            # Each event sends at most one message in the fast way, so the budget can't be overdrawn.
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
                    pool.fail_with(found, error)
                    continue
                if data != found.lone_reply or not plenty:
                    self._received(found, data)
                    continue
                # The fast path: a whole short reply, and then the next message. This is `Stream.issue_lone`, inlined.
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
                    pool.fail_with(found, error)
                    continue
                if taken != size:
                    found.unsent = size - taken
                    pool.send(found)
            return quick

        return serve

    def _other(self, connection: Connection | None, event: int) -> None:
        if connection is None:  # a late event for a descriptor that was closed in this same round
            return
        if not connection.connected:
            self._pool.advance(connection)
            return
        if event & WRITE:
            self._pool.send(connection)
        if event & ~WRITE and connection.connected:
            try:
                data = os.read(connection.descriptor, self._most)
            except BlockingIOError:
                return
            except OSError as error:
                self._pool.fail_with(connection, error)
                return
            self._received(connection, data)

    def _received(self, connection: Connection, data: bytes) -> None:
        pool = self._pool
        if connection is self._control:
            if not data:
                pool.poller.unregister(connection.descriptor)
            self._on_control(data)
        elif not data:
            pool.fail_ended(connection)
        else:
            now = time.monotonic()
            try:
                done = connection.receive(data, now, pool.recorder)
            except WrongReplyError as wrong:
                pool.fail_wrong(connection, wrong)
                return
            if done:
                self._workload.answered(connection, done, now)

    def _tick(self, now: float) -> None:
        recorder = self._pool.recorder
        recorder.tick(now)
        connected = self._pool.tick(now)
        since, answered = self._alive
        if connected or recorder.answered > answered:
            self._alive = now, recorder.answered
        elif now - since > self._give_up_after:
            self.given_up = f"no connection could be opened for {self._give_up_after:g} s"
            self.stop = True
        self.on_tick(now)
