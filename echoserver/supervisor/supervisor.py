"""The supervisor: it binds the listeners, forks the worker processes, replaces those that die, and ends them.

It has one thread and one selector, loads no handler, and serves nobody. What it forks has therefore no lock that
another thread holds, and no epoll set that the parent would keep alive.
"""

from __future__ import annotations

import math
import os
import signal
import sys

from echoserver.clock import Deadline
from echoserver.config import ServerConfig
from echoserver.errors import EchoServerError
from echoserver.observe.logger import Logger
from echoserver.process.notify import ServiceManager
from echoserver.process.signals import STOP_SIGNALS, Event, EventInbox
from echoserver.process.terminal import ControllingTerminal
from echoserver.process.watchdog import Watchdog
from echoserver.supervisor.channel import Message
from echoserver.supervisor.generation import Generation, Process, State
from echoserver.supervisor.pool import Pool
from echoserver.supervisor.reporting import Reporting
from echoserver.supervisor.succession import Load, Succession

# What a worker process may take beyond the time of the drain, before it is killed.
_GRACE_SECONDS = 10.0


class RefusedError(EchoServerError):
    """No process can serve, as one of them has said; the code is the one that it ended with."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.exit_code = code  # type: ignore[misc]  # of this error, and not of its class


class Supervisor:
    """Starts, watches and ends worker processes.

    Parameters
    ----------
    config:
        What the first generation is to serve.
    load:
        Reads the configuration again, for a reload.
    pool:
        The processes.
    reporting:
        Gathers what they have counted, and logs.
    inbox:
        Where signals arrive.
    manager:
        Is told the state of the service.

    """

    def __init__(
        self,
        config: ServerConfig,
        load: Load,
        pool: Pool,
        reporting: Reporting,
        inbox: EventInbox,
        manager: ServiceManager,
    ) -> None:
        self._config = config
        self._succession = Succession(load, pool, reporting, manager)
        self._pool = pool
        self._reporting = reporting
        self._inbox = inbox
        self._manager = manager
        self._watchdog = Watchdog(os.environ, manager, self._log)
        self._terminal = ControllingTerminal()
        self._draining: Deadline | None = None
        self._cut: list[str] = []
        self._failure: EchoServerError | None = None

    @property
    def _log(self) -> Logger:
        return self._reporting.log

    def inherit(self, serving: Generation, processes: list[Process]) -> None:
        """Begin with the processes that another image of this process has started."""
        for process in processes:
            self._pool.adopt(process)
        self._succession.inherit(serving)

    def run(self) -> None:
        """Serve until a signal ends it.

        Raises
        ------
        EchoServerError
            No worker process comes up.

        """
        self._inbox.post(signal.SIGCHLD)  # for orphans that ended before the signal was handled
        try:
            self._succession.begin(self._config)
        except EchoServerError as error:
            if self._succession.serving is None:
                self._fail(error)
            else:
                self._log.error("not upgraded", reason=str(error))
        while self._draining is None or self._pool:
            for process in self._pool.wait(self._timeout()):
                self._take_in(process, self._pool.hear(process))
            for event in self._inbox.wait(0):
                self._act(event)
            self._on_time()
        self._reporting.stats("stopped", (), cut=self._cut)
        if self._failure is not None:
            raise self._failure

    # -- events

    def _act(self, event: Event) -> None:
        """Do what a signal asks for."""
        if event == signal.SIGCHLD:
            self._reap()
        elif event == signal.SIGHUP and not self._terminal.has_gone():
            if self._draining is None:
                self._succession.reload()
        elif event == signal.SIGUSR2:
            self._upgrade()
        elif event == signal.SIGUSR1:
            self._reporting.ask("stats", self._pool)
            self._pool.say_to_all("dump")
        elif event in (*STOP_SIGNALS, signal.SIGHUP):
            assert isinstance(event, signal.Signals)
            if self._draining is None:
                self._drain(event.name)
            else:
                self._log.warning("cutting", cause=event.name)
                self._pool.say_to_all("cut")
                self._draining = Deadline(_GRACE_SECONDS)

    def _take_in(self, process: Process, messages: list[Message]) -> None:
        """Act on what a process says."""
        for message in messages:
            if "report" in message:
                self._reporting.answered(process, message)
                continue
            match message["state"]:
                case "prepared":
                    process.handler = message["handler"]
                    self._succession.prepared(process)
                case "serving":
                    self._succession.served(process)
                case "retiring":
                    self._succession.left(process)
                case "refused":
                    process.refusal = message
                case "ended":
                    process.report, process.cut = message["counters"], message["cut"]

    def _on_time(self) -> None:
        """Do what is due."""
        if self._draining is None:
            self._succession.look()
        done = self._reporting.look(self._pool)
        if "stats" in done and self._draining is None:
            self._reporting.stats("stats", self._pool)
        if "watchdog" in done:
            stuck = [f"{each.name}: {thread}" for each in self._pool for thread in each.stuck]
            self._watchdog.tell(stuck)
        if self._watchdog.due():
            self._reporting.ask("watchdog", self._pool)
        if self._draining is not None and self._draining.expired:
            for process in self._pool:
                self._log.error("process did not end", worker=process.name, pid=process.pid)
                process.signal(signal.SIGKILL)
            self._draining = Deadline(_GRACE_SECONDS)

    def _timeout(self) -> float | None:
        """Return how long to wait for an event."""
        times = [
            self._reporting.timeout(),
            self._succession.timeout() if self._draining is None else self._draining.remaining(),
        ]
        nearest = min(times)
        return self._watchdog.timeout(None if nearest == math.inf else nearest)

    def _upgrade(self) -> None:
        """Execute this program anew, if that works."""
        from echoserver.supervisor.upgrade import execute, try_out

        serving = self._succession.serving
        if serving is None or self._succession.is_changing or self._draining is not None:
            self._log.error("not upgraded", reason="the processes are about to change; try again")
            return
        self._log.info("upgrading", executable=sys.executable)
        try:
            try_out(serving.config)
            execute(
                self._pool, serving, self._reporting.gone, {**self._manager.variables(), **self._watchdog.variables()}
            )
        except EchoServerError as error:
            self._log.error("not upgraded", reason=str(error))

    # -- deaths

    def _reap(self) -> None:
        for process, cause, said in self._pool.reap():
            self._take_in(process, said)
            self._bury(process, cause)
            self._succession.left(process)

    def _bury(self, process: Process, cause: str) -> None:
        """Count what a process that has ended leaves behind, and have it replaced if nobody had ended it."""
        lost = self._reporting.bury(process, self._pool.board.bury(process.row))
        generation = process.generation
        self._cut += process.cut
        died = cause  # by what it is counted, since there are few of these; a refusal can be any text
        if process.refusal is not None:
            cause = process.refusal["reason"]
        facts = {"worker": process.name, "pid": process.pid, "cause": cause, "lost": lost}
        if process.state in (State.RETIRING, State.DRAINING):
            if lost:
                self._say_died(died, facts)
            elif process.state is State.RETIRING:
                self._log.info("process retired", worker=process.name, pid=process.pid)
        elif generation is self._succession.coming and self._succession.serving is not None:
            self._succession.give_up(generation, cause)
        elif generation is self._succession.coming and process.refusal is not None:
            self._fail(RefusedError(cause, process.refusal["code"]))
        else:
            self._say_died(died, facts)
            generation.replace_later(process)
            if not generation.comes_up and not any(each.served_since for each in generation.members):
                self._fail(EchoServerError(f"no worker process comes up; the last one ended with {cause}"))

    def _say_died(self, cause: str, facts: Message) -> None:
        self._reporting.count_death(cause)
        self._log.error("process died", **facts)

    # -- the end

    def _fail(self, error: EchoServerError) -> None:
        """End, because no process can serve."""
        if self._failure is None:
            self._failure = error
        if self._draining is None:
            self._drain("failure")

    def _drain(self, cause: str) -> None:
        """Have all processes stop, each after its connections have got their replies."""
        config = self._succession.serving.config if self._succession.serving is not None else self._config
        if self._succession.serving is not None:
            self._log.info("draining", cause=cause)
        self._draining = Deadline(config.drain_timeout + _GRACE_SECONDS if config.drain_timeout else 0)
        self._manager.tell(STOPPING="1", STATUS="draining")
        for process in self._pool:
            process.end()
        # The kernel refuses new peers when the last process has closed its listener, so this one must not keep it.
        self._pool.close_listeners()
