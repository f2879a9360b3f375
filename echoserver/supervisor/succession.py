"""The generations of worker processes: how one follows another, and how its processes are replaced."""

from __future__ import annotations

import math
import os
from bisect import insort
from collections.abc import Callable
from time import monotonic, monotonic_ns

from echoserver.clock import Deadline
from echoserver.config import LoadedConfig, ServerConfig
from echoserver.errors import ConfigError, EchoServerError
from echoserver.observe.logger import Logger
from echoserver.process.descriptors import make_room
from echoserver.process.notify import ServiceManager
from echoserver.supervisor.generation import Generation, Process, State
from echoserver.supervisor.pool import Pool
from echoserver.supervisor.reporting import Reporting

_RELOAD_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_LEAVE_SECONDS = 5.0

Load = Callable[[], LoadedConfig]


class Succession:
    """The generation that serves, and the one that is to follow it.

    Parameters
    ----------
    load:
        Reads the configuration again, for a reload.
    pool:
        The processes.
    reporting:
        Where to log.
    manager:
        Is told when the server is ready, and when it reloads.

    """

    def __init__(self, load: Load, pool: Pool, reporting: Reporting, manager: ServiceManager) -> None:
        self._load = load
        self._pool = pool
        self._reporting = reporting
        self._manager = manager
        self.serving: Generation | None = None
        """The generation that accepts peers."""
        self.coming: Generation | None = None
        """The generation that is to follow it."""
        self._patience = Deadline(0)  # with the generation that is coming, and with those that are leaving
        self._reload_again = False
        self._began = 0
        self._done = "reloaded"
        self._changed: list[str] = []
        self._leaving: set[Process] = set()
        """The processes of the generation before that may still accept peers."""

    @property
    def _log(self) -> Logger:
        return self._reporting.log

    @property
    def current(self) -> Generation | None:
        """The generation whose processes are replaced when they die: the first one even before it serves."""
        return self.serving or self.coming

    @property
    def is_changing(self) -> bool:
        """Whether one generation is about to follow another."""
        return self.serving is None or self.coming is not None or bool(self._leaving)

    def timeout(self) -> float:
        """Return after how many seconds to call `look`; `math.inf` if nothing is due."""
        generation = self.current
        due = max(0.0, generation.due[0] - monotonic()) if generation is not None and generation.due else math.inf
        return min(due, self._patience.remaining() if self.coming is not None or self._leaving else math.inf)

    def look(self) -> None:
        """Start the processes that are due, and end a generation that takes too long to come up."""
        generation, now = self.current, monotonic()
        while generation is not None and generation.due and generation.due[0] <= now:
            generation.due.pop(0)
            self._replace(generation)
        if not self._patience.expired:
            return
        if self.coming is not None:
            self.give_up(self.coming, f"it is not ready after {_RELOAD_SECONDS:g} s")
        elif self._leaving:  # one has been stopped, perhaps; what it accepts is its own affair
            self._leaving.clear()
            self._look_who_leaves()

    def inherit(self, serving: Generation) -> None:
        """Begin with a generation that another image of this process has started."""
        self.serving = serving
        self._began = serving.number
        self._done = "upgraded"

    def begin(self, config: ServerConfig) -> None:
        """Start the processes of a generation.

        Raises
        ------
        EchoServerError
            The system starts no more processes. Those that have started are ended.

        """
        self._began += 1
        generation = self.coming = Generation(self._began, config, processes_of(config))
        self._patience = Deadline(_RELOAD_SECONDS if self.serving is not None else 0)
        try:
            for _ in range(generation.size):
                self._pool.fork(generation)
        except EchoServerError:
            self._abandon(generation)
            raise

    def prepared(self, process: Process) -> None:
        """Have a process serve: at once where it replaces another, and else when all of its generation are prepared."""
        if process.state is not State.STARTING:  # it has been told to end meanwhile
            return
        generation, process.state = process.generation, State.PREPARED
        if generation is self.serving:
            process.say("serve")
        elif generation is self.coming and generation.all_are(State.PREPARED):
            for member in generation.members:
                member.say("serve")

    def _follow(self, generation: Generation) -> None:
        """Have a generation follow the one before it, when all of its processes serve."""
        if generation is not self.coming or not generation.all_are(State.SERVING):
            return
        before = self.serving
        self.serving, self.coming = generation, None
        self._pool.board.limit = generation.config.max_connections
        if before is None:
            facts = {"handler": generation.members[0].handler, "mode": generation.config.mode}
            for listener in self._pool.listeners:
                self._log.info("listening", **listener.facts(), **facts, **generation.facts())
            self._say_ready()
            return
        self._reporting.configure(generation.config)
        self._changed = before.config.changed(generation.config)
        self._leaving, self._patience = set(before.members), Deadline(_LEAVE_SECONDS)
        for process in before.members:
            process.state = State.RETIRING
            process.say("retire", timeout=generation.config.retire_timeout)
        self._look_who_leaves()

    def left(self, process: Process) -> None:
        """Note that a process of the generation before accepts no more, or has ended."""
        if process in self._leaving:
            self._leaving.remove(process)
            self._look_who_leaves()

    def _look_who_leaves(self) -> None:
        """Say that the reload is done, when only the new processes accept peers."""
        if not self._leaving and self.serving is not None:
            if self._done == "reloaded":
                self._reporting.count("reloads")
            self._log.info(self._done, changed=self._changed, **self.serving.facts())
            self._done = "reloaded"
            self._say_ready()

    def _say_ready(self) -> None:
        self._manager.tell(READY="1", STATUS=self._status())
        self._reload_if_asked()

    def reload(self) -> None:
        """Begin a new generation with what the files say now."""
        if self.coming is not None or self._leaving:
            self._reload_again = True
            return
        assert self.serving is not None
        # The clock of systemd's own time stamps, which it needs to know this reload from an earlier one.
        self._manager.tell(RELOADING="1", MONOTONIC_USEC=str(monotonic_ns() // 1000))
        try:
            config = self._load().config
            refuse_what_stays(self.serving.config, config, self._pool.board.most_connections)
            make_room(config.max_connections)
            self.begin(config)
        except EchoServerError as error:
            self._say_not_reloaded(str(error))

    def _reload_if_asked(self) -> None:
        """Reload for those who have asked for it during a reload, whose files may have come too late for that one."""
        if self._reload_again:
            self._reload_again = False
            self.reload()

    def give_up(self, generation: Generation, reason: str) -> None:
        """End a generation that can't follow; the one before goes on."""
        self._abandon(generation)
        self._say_not_reloaded(reason)
        self._reload_if_asked()

    def _abandon(self, generation: Generation) -> None:
        self.coming = None
        for process in generation.members:
            process.end()

    def _say_not_reloaded(self, reason: str) -> None:
        self._reporting.count("failed_reloads")
        self._log.error("not reloaded", reason=reason)
        self._manager.tell(READY="1", STATUS=f"{self._status()}; not reloaded: {reason}")

    def _status(self) -> str:
        size = self.serving.size if self.serving is not None else 0
        return f"serving on {', '.join(listener.name for listener in self._pool.listeners)} with {size} processes"

    def served(self, process: Process) -> None:
        """Note that a process serves."""
        process.served_since = monotonic()
        if process.state is State.PREPARED:  # and has not been told to end meanwhile
            process.state = State.SERVING
            process.generation.served()
            self._follow(process.generation)

    def _replace(self, generation: Generation) -> None:
        """Start a process in place of one that has died."""
        try:
            self._pool.fork(generation)
        except EchoServerError as error:
            self._log.error("cannot replace a process", reason=str(error))
            insort(generation.due, monotonic() + _RETRY_SECONDS)


def processes_of(config: ServerConfig) -> int:
    """Return how many processes there are to be."""
    return config.processes or usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_what_stays(before: ServerConfig, after: ServerConfig, most_connections: int) -> None:
    """Refuse a configuration that needs what can't change while the supervisor runs.

    Raises
    ------
    ConfigError
        It has other endpoints than those that are bound, or no supervisor, or more connections than there is room for.

    """
    if before.endpoints != after.endpoints:
        now, wanted = (", ".join(map(str, config.endpoints)) for config in (before, after))
        key = "listen" if after.listen else "port"
        raise ConfigError(f"can't change from {now} to {wanted} while the server runs; restart it", key=key)
    if after.processes == 1:
        raise ConfigError(
            "can't change to 1, which has no supervisor, while the server runs; restart it", key="processes"
        )
    if after.max_connections > most_connections:
        problem = f"can't be more than {most_connections} while the server runs; restart it"
        raise ConfigError(problem, key="max_connections")
