"""A worker process: an ordinary server on listeners that it shares, which does what the supervisor says."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

from echoserver.config import ServerConfig
from echoserver.errors import EchoServerError
from echoserver.net.listener import Listener
from echoserver.observe.logs import LogWriter
from echoserver.process.run import dump
from echoserver.process.shortage import shortage_as_error
from echoserver.process.signals import Event, EventInbox, Notice, signals_as_events
from echoserver.process.uncaught import IgnoredError, uncaught_errors_to
from echoserver.serving.board import Row
from echoserver.serving.interpreter import take_charge_of_threads
from echoserver.supervisor.channel import Channel, Message, counted
from echoserver.supervisor.retiring import RetiringServer
from echoserver.supervisor.title import set_title

_STANDARD_ERROR = 2
_LOG_CLOSE_SECONDS = 1.0
_SECONDS_WITHOUT_SUPERVISOR = 1.0

_NOTICES = {"retire": Notice.RETIRE, "drain": Notice.DRAIN, "cut": Notice.CUT, "dump": Notice.DUMP}


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker process is given by the supervisor that forks it."""

    name: str
    config: ServerConfig
    listeners: list[Listener]
    row: Row
    """Its row in what all processes count together."""


def work(post: Post, channel: Channel) -> int:
    """Serve until the supervisor says otherwise, or has gone; return the exit code of the process.

    The handler and everything else that may be refused is loaded first. Peers are accepted when the supervisor has
    heard from all processes of the generation that they are prepared.
    """
    set_title(f"echoserver: {post.name}")
    # A terminal sends it to the whole process group, and it is the supervisor that decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    config = post.config
    try:
        with shortage_as_error():
            writer = LogWriter(_STANDARD_ERROR, config.log_level, config.log_format, process=post.name)
    except EchoServerError as error:
        return _refuse(channel, error)
    try:
        take_charge_of_threads()
        with shortage_as_error():
            server = RetiringServer(config, writer.logger, post.listeners, post.row)
        channel.send(state="prepared", handler=server.handler_name)
        with (
            signals_as_events(signal.SIGTERM, signal.SIGUSR1) as inbox,
            uncaught_errors_to(writer.logger, inbox.post),
            shortage_as_error(),
        ):
            return _Worker(server, writer, inbox, channel).run()
    except EchoServerError as error:
        return _refuse(channel, error)
    finally:
        writer.close(_LOG_CLOSE_SECONDS)


def _refuse(channel: Channel, error: EchoServerError) -> int:
    channel.send(state="refused", reason=str(error), code=error.exit_code)
    return error.exit_code


class _Worker:
    """Two threads beside the main thread: one hears the supervisor, the other ends the server when it is time to."""

    def __init__(self, server: RetiringServer, writer: LogWriter, inbox: EventInbox, channel: Channel) -> None:
        self._server = server
        self._writer = writer
        self._inbox = inbox
        self._channel = channel
        # Written by the main thread before it sets `_ending`, and read by the thread that waits for that.
        self._end: Callable[[], list[str]] = server.stop
        self._ending = threading.Event()
        self._retire_timeout = 0.0  # written by the thread that hears, before it posts `RETIRE`
        self._cut: list[str] = []  # written by the thread that ends the server, before it posts `DRAINED`
        self._started = threading.Event()
        self._failed = False

    def run(self) -> int:
        """Act on events until the server has stopped; return the exit code."""
        threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("control", self._hear), ("watch", self._watch), ("drain", self._end_server))
        ]
        for thread in threads:
            thread.start()
        drained = False
        while not drained:
            for event in self._inbox.wait(None):
                drained = drained or event is Notice.DRAINED
                self._act(event)
        self._channel.send(state="ended", cut=self._cut, counters=self._counters())
        return 1 if self._failed else 0

    def _act(self, event: Event) -> None:
        if isinstance(event, IgnoredError):
            event.log(self._writer.logger)
        elif event is Notice.SERVE:
            self._server.start()
            self._started.set()
            self._channel.send(state="serving")
        elif event in (Notice.DUMP, signal.SIGUSR1):
            dump(self._server, self._writer)
        elif event is Notice.RETIRE:
            self._begin_end(self._retire)
        elif event is Notice.ORPHANED:
            self._writer.logger.warning("draining", cause="the supervisor has gone")
            if self._ending.is_set():
                self._server.cut()
            self._begin_end(lambda: self._server.stop(_SECONDS_WITHOUT_SUPERVISOR))
        elif event in (Notice.DRAIN, Notice.FAILED, signal.SIGTERM):
            self._failed = self._failed or event is Notice.FAILED
            self._begin_end(self._server.stop)
        elif event is Notice.CUT:
            self._server.cut()

    def _begin_end(self, end: Callable[[], list[str]]) -> None:
        """Have the server ended; where it is retiring already, that is over now."""
        if self._ending.is_set():
            self._server.end_retirement()
            return
        self._end = end
        self._ending.set()

    def _retire(self) -> list[str]:
        self._server.stop_accepting()
        self._channel.send(state="retiring")
        return self._server.retire(self._retire_timeout)

    def _counters(self) -> Message:
        return {**counted(asdict(self._server.stats())), "log_dropped": self._writer.dropped}

    # -- the thread `control`

    def _hear(self) -> None:
        while (messages := self._channel.receive()) is not None:
            for message in messages:
                self._obey(message)
        self._inbox.post(Notice.ORPHANED)

    def _obey(self, message: Message) -> None:
        match message["do"]:
            case "serve":
                self._inbox.post(Notice.SERVE)
            case "report":
                stuck = self._server.stuck() if message["watchdog"] else []
                self._channel.send(report=self._counters(), stuck=stuck)
            case "retire":
                self._retire_timeout = message["timeout"]
                self._inbox.post(Notice.RETIRE)
            case word:
                self._inbox.post(_NOTICES[word])

    # -- the other two

    def _watch(self) -> None:
        self._started.wait()
        try:
            self._server.wait()
        except EchoServerError:  # the server has logged it
            self._inbox.post(Notice.FAILED)

    def _end_server(self) -> None:
        self._ending.wait()
        try:
            self._cut = self._end()
        finally:
            self._inbox.post(Notice.DRAINED)
