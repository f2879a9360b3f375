"""The supervisor: it binds the listeners, forks the worker processes, replaces those that die, and ends them.

It has one thread and one selector, loads no handler, and serves nobody. What it forks has therefore no lock that
another thread holds, and no epoll set that the parent would keep alive.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
from collections.abc import Callable
from time import monotonic, monotonic_ns

from echoserver.clock import Deadline
from echoserver.config import LoadedConfig, ServerConfig, options
from echoserver.errors import ConfigError, EchoServerError
from echoserver.net.listener import Listener
from echoserver.observe.logger import Logger
from echoserver.process.notify import ServiceManager
from echoserver.process.signals import STOP_SIGNALS, Event, EventInbox
from echoserver.process.terminal import ControllingTerminal
from echoserver.process.watchdog import Watchdog
from echoserver.supervisor.forking import Forking
from echoserver.supervisor.generation import Generation, Process, State, cause_of
from echoserver.supervisor.reporting import Reporting

_RELOAD_SECONDS = 60.0
# What a worker process may take beyond the time of the drain, before it is killed.
_GRACE_SECONDS = 10.0
_RETRY_SECONDS = 1.0

Load = Callable[[], LoadedConfig]


class Refused(EchoServerError):
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
    listeners:
        What all processes accept on.
    forking:
        Starts them.
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
        listeners: list[Listener],
        forking: Forking,
        reporting: Reporting,
        inbox: EventInbox,
        manager: ServiceManager,
    ) -> None:
        self._load = load
        self._listeners = listeners
        self._forking = forking
        self._reporting = reporting
        self._inbox = inbox
        self._manager = manager
        self._watchdog = Watchdog(os.environ, manager, self._log)
        self._terminal = ControllingTerminal()
        self._selector = selectors.DefaultSelector()
        self._selector.register(inbox.waiting, selectors.EVENT_READ)
        forking.leave = self._leave
        self._processes: dict[int, Process] = {}
        self._serving: Generation | None = None
        """The generation that accepts peers."""
        self._coming: Generation | None = None
        """The generation that is to follow it."""
        self._patience = Deadline(0)  # with the generation that is coming
        self._reload_again = False
        self._draining: Deadline | None = None
        self._cut: list[str] = []
        self._failure: EchoServerError | None = None
        self._began = 0  # generations
        self._config = config

    @property
    def _log(self) -> Logger:
        return self._reporting.log

    def run(self) -> None:
        """Serve until a signal ends it.

        Raises
        ------
        EchoServerError
            No worker process comes up.

        """
        self._inbox.post(signal.SIGCHLD)  # for orphans that ended before the signal was handled
        try:
            self._begin(self._config)
        except EchoServerError as error:
            self._fail(error)
        while self._draining is None or self._processes:
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    for event in self._inbox.wait(0):
                        self._act(event)
                else:
                    self._hear(key.data)
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
            self._reload()
        elif event == signal.SIGUSR1:
            self._reporting.ask("stats", self._processes.values())
            for process in self._processes.values():
                process.say("dump")
        elif event in (*STOP_SIGNALS, signal.SIGHUP):
            assert isinstance(event, signal.Signals)
            if self._draining is None:
                self._drain(event.name)
            else:
                self._log.warning("cutting", cause=event.name)
                self._say_to_all("cut")
                self._draining = Deadline(_GRACE_SECONDS)

    def _hear(self, process: Process) -> None:
        """Take in what a process says."""
        messages = process.channel.receive()
        if messages is None:  # it is about to be reaped
            self._selector.unregister(process.channel)
            return
        for message in messages:
            if "report" in message:
                self._reporting.answered(process, message)
                continue
            match message["state"]:
                case "prepared":
                    process.state = State.PREPARED
                    process.handler = message["handler"]
                    self._admit(process)
                case "serving":
                    process.state, process.served_since = State.SERVING, monotonic()
                    process.generation.served()
                    self._succeed(process.generation)
                case "refused":
                    process.refusal = message
                case "ended":
                    process.report, process.cut = message["counters"], message["cut"]

    def _on_time(self) -> None:
        """Do what is due."""
        serving, now = self._serving or self._coming, monotonic()
        while serving is not None and self._draining is None and serving.due and serving.due[0] <= now:
            serving.due.pop(0)
            self._replace(serving)
        if self._coming is not None and self._patience.expired:
            self._give_up(self._coming, f"it is not ready after {_RELOAD_SECONDS:g} s")
        done = self._reporting.look(self._processes.values())
        if "stats" in done and self._draining is None:
            self._reporting.stats("stats", self._processes.values())
        if "watchdog" in done:
            stuck = [f"{each.name}: {thread}" for each in self._processes.values() for thread in each.stuck]
            self._watchdog.tell(stuck)
        if self._watchdog.due():
            self._reporting.ask("watchdog", self._processes.values())
        if self._draining is not None and self._draining.expired:
            for process in self._processes.values():
                self._log.error("process did not end", worker=process.name, pid=process.pid)
                process.signal(signal.SIGKILL)
            self._draining = Deadline(_GRACE_SECONDS)

    def _timeout(self) -> float | None:
        """Return how long to wait for an event."""
        serving = self._serving or self._coming
        times = [
            self._reporting.timeout(),
            self._patience.remaining() if self._coming is not None else math.inf,
            self._draining.remaining() if self._draining is not None else math.inf,
            max(0.0, serving.due[0] - monotonic()) if serving is not None and serving.due else math.inf,
        ]
        nearest = min(times)
        return self._watchdog.timeout(None if nearest == math.inf else nearest)

    # -- generations

    def _begin(self, config: ServerConfig) -> None:
        """Start the processes of a generation."""
        self._began += 1
        generation = self._coming = Generation(self._began, config, processes_of(config))
        self._patience = Deadline(_RELOAD_SECONDS if self._serving is not None else 0)
        for _ in range(generation.size):
            self._fork(generation)

    def _fork(self, generation: Generation) -> None:
        process = self._forking.fork(generation)
        self._processes[process.pid] = process
        self._selector.register(process.channel, selectors.EVENT_READ, process)

    def _admit(self, process: Process) -> None:
        """Have a process serve: at once where it replaces another, and else when all of its generation are prepared."""
        generation = process.generation
        if generation is self._serving:
            process.say("serve")
        elif generation is self._coming and generation.all_are(State.PREPARED):
            self._forking.board.limit = generation.config.max_connections
            for member in generation.members:
                member.say("serve")

    def _succeed(self, generation: Generation) -> None:
        """Have a generation follow the one before it, when all of its processes serve."""
        if generation is not self._coming or not generation.all_are(State.SERVING):
            return
        before, self._serving, self._coming = self._serving, generation, None
        facts = {"generation": generation.number, "processes": generation.size}
        if before is None:
            for listener in self._listeners:
                shown = {"handler": generation.members[0].handler, "mode": generation.config.mode}
                self._log.info("listening", **listener.facts(), **shown, **facts)
        else:
            for process in before.members:
                process.state = State.RETIRING
                process.say("retire", timeout=generation.config.retire_timeout)
            self._reporting.configure(generation.config)
            self._log.info("reloaded", changed=changed(before.config, generation.config), **facts)
        self._manager.tell(READY="1", STATUS=self._status())
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _reload(self) -> None:
        """Begin a new generation with what the files say now."""
        if self._draining is not None:
            return
        if self._coming is not None:
            self._reload_again = True
            return
        assert self._serving is not None
        # The clock of systemd's own time stamps, which it needs to know this reload from an earlier one.
        self._manager.tell(RELOADING="1", MONOTONIC_USEC=str(monotonic_ns() // 1000))
        try:
            loaded = self._load()
            refuse_other_endpoints(self._serving.config, loaded.config)
        except ConfigError as error:
            self._say_not_reloaded(str(error))
            return
        try:
            self._begin(loaded.config)
        except EchoServerError as error:
            if self._coming is not None:
                self._give_up(self._coming, str(error))

    def _give_up(self, generation: Generation, reason: str) -> None:
        """End a generation that can't follow; the one before goes on."""
        self._coming = None
        for process in generation.members:
            # One of them may have begun to serve: its connections get their replies.
            process.state = State.DRAINING
            process.say("drain")
            if process.served_since is None:
                process.signal(signal.SIGKILL)
        self._say_not_reloaded(reason)
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _say_not_reloaded(self, reason: str) -> None:
        self._log.error("not reloaded", reason=reason)
        self._manager.tell(READY="1", STATUS=f"{self._status()}; not reloaded: {reason}")

    def _status(self) -> str:
        size = self._serving.size if self._serving is not None else 0
        return f"serving on {', '.join(listener.name for listener in self._listeners)} with {size} processes"

    # -- deaths

    def _reap(self) -> None:
        """Reap all children that have ended: worker processes, and the orphans that process 1 is given."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # there are none
                return
            if pid == 0:
                return
            process = self._processes.pop(pid, None)
            if process is not None:
                self._bury(process, cause_of(status))

    def _bury(self, process: Process, cause: str) -> None:
        """Put away what is left of a process that has ended, and have it replaced if nobody had ended it."""
        if process.channel in self._selector.get_map():
            self._hear(process)  # what it has said last
        if process.channel in self._selector.get_map():
            self._selector.unregister(process.channel)
        self._forking.forget(process)
        lost = self._reporting.bury(process, self._forking.board.bury(process.row))
        generation = process.generation
        generation.members.remove(process)
        self._cut += process.cut
        if process.refusal is not None:
            cause = process.refusal["reason"]
        facts = {"worker": process.name, "pid": process.pid, "cause": cause, "lost": lost}
        if process.state in (State.RETIRING, State.DRAINING):
            if lost:
                self._log.error("process died", **facts)
            elif process.state is State.RETIRING:
                self._log.info("process retired", worker=process.name, pid=process.pid)
        elif generation is self._coming and self._serving is not None:
            self._give_up(generation, cause)
        elif generation is self._coming and process.refusal is not None:
            self._fail(Refused(cause, process.refusal["code"]))
        else:
            self._log.error("process died", **facts)
            generation.replace_later(process, cause)
            if not generation.comes_up and not any(each.served_since for each in generation.members):
                self._fail(EchoServerError(f"no worker process comes up; the last one ended with {cause}"))

    def _replace(self, generation: Generation) -> None:
        """Start a process in place of one that has died."""
        try:
            self._fork(generation)
        except EchoServerError as error:
            self._log.error("cannot replace a process", reason=str(error))
            generation.due.append(monotonic() + _RETRY_SECONDS)

    # -- the end

    def _fail(self, error: EchoServerError) -> None:
        """End, because no process can serve."""
        if self._failure is None:
            self._failure = error
        if self._draining is None:
            self._drain("failure")

    def _drain(self, cause: str) -> None:
        """Have all processes stop, each after its connections have got their replies."""
        config = self._serving.config if self._serving is not None else self._config
        if self._serving is not None:
            self._log.info("draining", cause=cause)
        self._draining = Deadline(config.drain_timeout + _GRACE_SECONDS if config.drain_timeout else 0)
        self._manager.tell(STOPPING="1", STATUS="draining")
        for process in self._processes.values():
            if process.served_since is None and process.state is State.STARTING:
                process.signal(signal.SIGKILL)  # it serves nobody, and may load for long
            process.state = State.DRAINING
        self._say_to_all("drain")
        # The kernel refuses new peers when the last process has closed its listener, so this one must not keep it.
        for listener in self._listeners:
            listener.close()

    def _say_to_all(self, word: str) -> None:
        for process in self._processes.values():
            process.say(word)

    def _leave(self) -> None:
        """Close, in a forked process, what is the supervisor's."""
        self._selector.close()
        self._inbox.close()


def processes_of(config: ServerConfig) -> int:
    """Return how many processes there are to be."""
    return config.processes or usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def changed(before: ServerConfig, after: ServerConfig) -> list[str]:
    """Return the names of the options that differ."""
    return [name for name, _ in options() if getattr(before, name) != getattr(after, name)]


def refuse_other_endpoints(before: ServerConfig, after: ServerConfig) -> None:
    """Refuse a configuration with other endpoints: those there are stay bound while generations change.

    Raises
    ------
    ConfigError
        They differ.

    """
    if before.endpoints != after.endpoints:
        now, wanted = (", ".join(map(str, config.endpoints)) for config in (before, after))
        key = "listen" if after.listen else "port"
        raise ConfigError(f"can't change from {now} to {wanted} while the server runs; restart it", key=key)
