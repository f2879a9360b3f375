"""Running a server as a process: what each signal does, the regular statistics, and the summary at the end."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING, Any

from echoserver.clock import Deadline
from echoserver.errors import ConfigError, EchoServerError
from echoserver.observe.logs import LogWriter
from echoserver.observe.metrics import ConnectionState
from echoserver.process.notify import ServiceManager
from echoserver.process.orphans import reap_orphans
from echoserver.process.shortage import shortage_as_error
from echoserver.process.signals import STOP_SIGNALS, Event, EventInbox, Notice
from echoserver.process.terminal import ControllingTerminal
from echoserver.process.uncaught import IgnoredError
from echoserver.process.watchdog import Watchdog
from echoserver.server import Server

if TYPE_CHECKING:
    from echoserver.admin.serving import AdminServer

Reload = Callable[[], list[str]]
_CAUSES: dict[Event, str] = {Notice.FAILED: "failure", Notice.DRAIN: "admin"}

# What ends the process. SIGHUP does so where the terminal has gone.
_ENDING = (*STOP_SIGNALS, signal.SIGHUP)


def run(
    server: Server,
    writer: LogWriter,
    inbox: EventInbox,
    manager: ServiceManager,
    reload: Reload,
    admin: AdminServer | None,
) -> None:
    """Act on signals until the server has stopped.

    Parameters
    ----------
    server:
        A started server.
    writer:
        Its log.
    inbox:
        Where signals arrive as events.
    manager:
        Is told when the server is ready, and when it begins to stop.
    reload:
        Has the server do as the files say now; raises `ConfigError`, which has been logged.
    admin:
        What answers requests for control; `None` where that isn't asked for.

    Raises
    ------
    BindError
        The server had to stop because it could not go on accepting.
    EchoServerError
        The system starts no more threads.

    """
    helpers = _Helpers(server, inbox)
    with shortage_as_error():
        helpers.start()
        if admin is not None:
            admin.start()
        if server.config.mode == "threads":
            _try_a_thread()
    manager.tell(READY="1", STATUS=status_of(server))
    if os.getpid() == 1:
        inbox.post(signal.SIGCHLD)  # for those that ended before the signal was handled
    _act_until_drained(server, writer, inbox, manager, reload, helpers)
    failure = helpers.join()
    if admin is not None:
        admin.stop()
    for event in inbox.wait(0):
        if isinstance(event, IgnoredError):
            event.log(writer.logger)
    writer.patient_logger.info("stopped", cut=helpers.cut, **_counters(server, writer))
    if failure is not None:
        raise failure


def _act_until_drained(
    server: Server,
    writer: LogWriter,
    inbox: EventInbox,
    manager: ServiceManager,
    reload: Reload,
    helpers: _Helpers,
) -> None:
    next_stats = Deadline(server.config.stats_interval)
    watchdog = Watchdog(os.environ, manager, writer.logger)
    terminal = ControllingTerminal()
    drained = False
    while not drained:
        for event in inbox.wait(watchdog.timeout(_nearest(next_stats, helpers.delay))):
            drained = drained or event is Notice.DRAINED
            if event == signal.SIGHUP and not terminal.has_gone():
                if not inbox.draining:
                    with suppress(ConfigError):  # it has been logged
                        reload()
                    next_stats = Deadline(server.config.stats_interval)
            elif _act(event, server, writer, helpers):
                manager.tell(STOPPING="1", STATUS=f"draining {len(server.connections())} connections")
        if helpers.delay.expired:
            helpers.begin_drain()
        watchdog.look(server.stuck)
        if next_stats.expired and not drained:
            writer.logger.info("stats", **_counters(server, writer))
            next_stats = Deadline(server.config.stats_interval)


class _Helpers:
    """Two threads that wait for the server, so that the main thread stays free to hear signals.

    Both start at once: when it is time to stop, the system may have no thread to spare. The main thread reads what they
    write after it has received their notice.
    """

    def __init__(self, server: Server, inbox: EventInbox) -> None:
        self._server = server
        self._inbox = inbox
        self._asked_to_drain = threading.Event()
        self.delay = Deadline(0)
        """When the drain begins that has been announced; the main thread's own."""
        self._failure: EchoServerError | None = None  # written by `watch`
        self.cut: list[str] = []
        """Which connections had to be cut; written by `drain`."""
        self._threads = [
            threading.Thread(target=self._watch, name="watch", daemon=True),
            threading.Thread(target=self._drain, name="drain", daemon=True),
        ]

    @property
    def draining(self) -> bool:
        """Whether the drain has been asked for."""
        return self._inbox.draining

    @property
    def delay_is_over(self) -> bool:
        """Whether the drain has begun."""
        return self._asked_to_drain.is_set()

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def begin_drain_after(self, seconds: float) -> None:
        """Have the server stopped that many seconds from now, and say until then that it is about to."""
        self._inbox.draining = True
        self.delay = Deadline(seconds)
        if not seconds:
            self.begin_drain()

    def begin_drain(self) -> None:
        """Have the server stopped; a `Notice.DRAINED` says when it has."""
        self.delay = Deadline(0)
        self._asked_to_drain.set()

    def join(self) -> EchoServerError | None:
        """Wait for both threads; return what the server failed with, which it may do while it drains."""
        for thread in self._threads:
            thread.join()
        return self._failure

    def _drain(self) -> None:
        self._asked_to_drain.wait()
        try:
            self.cut = self._server.stop()
        finally:
            self._inbox.post(Notice.DRAINED)

    def _watch(self) -> None:
        try:
            self._server.wait()
        except EchoServerError as error:
            self._failure = error
            self._inbox.post(Notice.FAILED)


def _nearest(*deadlines: Deadline) -> float | None:
    """Return the seconds until the first of them; `None` if there is none."""
    left = min(deadline.remaining() for deadline in deadlines)
    return None if left == math.inf else left


def _try_a_thread() -> None:
    """Start one more thread, or raise: a server that can't start any would reset every peer it accepts."""
    thread = threading.Thread(target=lambda: None, name="spare", daemon=True)
    thread.start()
    thread.join()


def _act(event: Event, server: Server, writer: LogWriter, helpers: _Helpers) -> bool:
    """Do what an event asks for; return whether the drain begins."""
    if isinstance(event, IgnoredError):
        event.log(writer.logger)
    elif event == signal.SIGCHLD:
        reap_orphans()
    elif event == signal.SIGUSR1:
        writer.patient_logger.info("stats", **_counters(server, writer))
        dump(server, writer)
    elif event in (*_ENDING, Notice.FAILED, Notice.DRAIN):
        cause = event.name if isinstance(event, signal.Signals) else _CAUSES[event]
        if not helpers.draining:
            writer.logger.info("draining", connections=len(server.connections()), cause=cause)
            helpers.begin_drain_after(server.config.drain_delay)
            return True
        if not helpers.delay_is_over:
            helpers.begin_drain()
            return False
        if event in _ENDING:
            writer.logger.warning("cutting", connections=len(server.connections()), cause=cause)
            server.cut()
    return False


def status_of(server: Server) -> str:
    """Return what a service manager shows of a server that serves."""
    return f"serving on {', '.join(server.endpoints)}"


def _counters(server: Server, writer: LogWriter) -> dict[str, Any]:
    counters = {**asdict(server.stats()), "log_dropped": writer.dropped}
    # Counters that only the other mode has are None, and left out.
    return {name: value for name, value in counters.items() if value is not None}


def dump(server: Server, writer: LogWriter) -> None:
    """Log a line for each connection, and all threads by name."""
    log, now = writer.logger, monotonic()
    for connection in server.connections():
        stats = connection.stats
        log.info(
            "connection",
            id=connection.number,
            peer=connection.peer,
            endpoint=connection.endpoint,
            state=ConnectionState(stats.state).name.lower(),
            seconds=round(now - connection.opened_at, 3),
            bytes_in=stats.bytes_in,
            bytes_out=stats.bytes_out,
            replies=stats.replies,
        )
    log.info("threads", names=sorted(thread.name for thread in threading.enumerate()))
