"""`Control` for the server of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any

from echoserver.admin.answers import (
    ConnectionDetails,
    Connections,
    Draining,
    Faults,
    Kernel,
    Killed,
    LogLevel,
    Reloaded,
    Row,
    Snapshot,
    Threads,
    Why,
)
from echoserver.admin.control import ConflictError, ControlError, Query, UnknownError
from echoserver.admin.frames import frames, names, place, stack
from echoserver.admin.limits import limits_of
from echoserver.admin.rows import row_of, select
from echoserver.admin.threads import places_by_thread, threads_of
from echoserver.admin.why import Facts, Whole, of_connection, of_server
from echoserver.errors import ConfigError
from echoserver.net.tcp_info import tcp_info, waiting_peers
from echoserver.observe.histogram import BOUNDS
from echoserver.observe.logger import LEVELS, Logger
from echoserver.observe.metrics import CloseReason
from echoserver.server import Server
from echoserver.serving.connection import Connection
from echoserver.version import __version__

# From when on a handler that keeps its thread is worth a sentence.
_LONG = 1.0


@dataclass(frozen=True, slots=True)
class Actions:
    """What the process does, and a server can't do for itself."""

    drain: Callable[[], None]
    """Begin to stop, as on SIGTERM; returns at once."""
    is_draining: Callable[[], bool]
    """Whether it has begun to stop, or is about to."""
    reload: Callable[[], list[str]]
    """Read the configuration again, as on SIGHUP, and return what has changed; raises `ConfigError`."""
    log_level: Callable[[], str]
    set_log_level: Callable[[str], None]


class LocalControl:
    """Answers from the server itself. All methods may be called from any thread; see `Control`.

    Parameters
    ----------
    server:
        A started server.
    actions:
        What the process does.
    log:
        Gets a line for everything that changes something.

    """

    def __init__(self, server: Server, actions: Actions, log: Logger) -> None:
        self._server = server
        self._actions = actions
        self._log = log
        self._began = monotonic()
        self._durations = server.inside.keep_durations()

    # -- what is

    def snapshot(self) -> Snapshot:
        """See `Control.snapshot`."""
        config, stats = self._server.config, self._server.stats()
        uptime, state = round(monotonic() - self._began, 3), "draining" if self.is_draining else "serving"
        faults = self.faults()
        durations, total = self._durations.read()
        return {
            "version": __version__,
            "handler": self._server.inside.handler,
            "mode": config.mode,
            "state": state,
            "uptime": uptime,
            "processes": [
                {
                    "name": "",
                    "pid": os.getpid(),
                    "generation": 1,
                    "state": state,
                    "uptime": uptime,
                    "active": stats.active,
                }
            ],
            "endpoints": [
                {"endpoint": listener.name, "waiting": waiting_peers(listener.sock)}
                for listener in self._server.inside.listeners
            ],
            "limits": {
                "max_connections": config.max_connections,
                "at_limit": config.at_limit,
                "max_connections_per_host": config.max_connections_per_host,
                "idle_timeout": config.idle_timeout,
                "write_timeout": config.write_timeout,
                "handler_timeout": config.handler_timeout,
                "max_lifetime": config.max_lifetime,
                "drain_timeout": config.drain_timeout,
            },
            "counters": {name: value for name, value in asdict(stats).items() if value is not None},
            "durations": {"bounds": list(BOUNDS), "counts": durations, "sum": total},
            "faults": {"rules": faults["rules"], "seed": faults["seed"]},
            "log_level": self._actions.log_level(),
        }

    @property
    def is_draining(self) -> bool:
        """Whether the server is to stop, whoever has asked for it."""
        return self._actions.is_draining() or self._server.inside.is_stopping

    def connections(self, query: Query) -> Connections:
        """See `Control.connections`."""
        threads = names()
        return select((self._row(connection, threads) for connection in self._server.connections()), query)

    def connection(self, name: str) -> ConnectionDetails:
        """See `Control.connection`."""
        connection = self._find(name)
        row, kernel = self._row(connection, names()), _kernel(connection)
        limits = limits_of(connection, row["idle"], self._server.config)
        frame = frames().get(connection.served_by) if row["thread"] else None
        facts = Facts(
            row=row,
            kernel=kernel,
            limits=limits,
            ending=connection.ending.value if connection.ending is not None else "",
            place=place(frame),
            rate_limited=connection.bucket is not None,
            workers=self._server.stats().workers,
            paused_by_fault=connection.transport.has_faults and connection.bucket is None,
        )
        return {
            "connection": row,
            "kernel": kernel,
            "limits": limits,
            "why": of_connection(facts),
            "stack": stack(frame) if row["state"] == "handling" else [],
        }

    def why(self, name: str | None) -> Why:
        """See `Control.why`."""
        if name is not None:
            return {"sentences": self.connection(name)["why"]}
        inside, stats, config = self._server.inside, self._server.stats(), self._server.config
        rows = self.connections(replace(Query(), limit=10_000))["connections"]
        idle = [row["idle"] for row in rows if row["state"] == "receiving"]
        places = places_by_thread()
        held = [
            (row["thread"] or "a thread", places.get(row["thread"] or "", "the handler"), row["idle"], row["id"])
            for row in rows
            if row["state"] == "handling" and row["idle"] >= _LONG
        ]
        whole = Whole(
            active=stats.active,
            most=config.max_connections,
            at_limit=config.at_limit,
            full=inside.is_full,
            waiting=sum(waiting_peers(listener.sock) or 0 for listener in inside.listeners),
            draining=self.is_draining,
            short_of=inside.short_of,
            oldest_idle=max(idle, default=None),
            held=held,
            workers=stats.workers,
            count=inside.worker_count,
        )
        return {"sentences": of_server(whole)}

    def threads(self) -> Threads:
        """See `Control.threads`."""
        return {"threads": threads_of(self._server.connections(), self._server.inside.still)}

    def faults(self) -> Faults:
        """See `Control.faults`."""
        rules, seed = self._server.inside.fault_rules
        return {"rules": rules, "seed": seed, "counts": dict(self._server.stats().faults or {})}

    def log_level(self) -> LogLevel:
        """See `Control.log_level`."""
        return {"level": self._actions.log_level()}

    # -- what changes something

    def kill(self, name: str, by: str) -> Killed:
        """See `Control.kill`."""
        connection = self._find(name)
        self._log.warning("connection killed", id=connection.number, peer=connection.peer, by=by)
        if not connection.end(CloseReason.KILLED, abruptly=True):
            raise UnknownError(f"connection {name} has ended already")
        return {"killed": name}

    def drain(self, by: str) -> Draining:
        """See `Control.drain`."""
        if self.is_draining:
            raise ConflictError("the server is draining already")
        self._log.info("drain asked for", by=by)
        count = len(self._server.connections())
        self._actions.drain()
        return {"draining": count}

    def reload(self, by: str) -> Reloaded:
        """See `Control.reload`."""
        if self.is_draining:
            raise ConflictError("the server is draining")
        self._log.info("reload asked for", by=by)
        try:
            return {"changed": self._actions.reload()}
        except ConfigError as error:
            raise ConflictError(str(error)) from None

    def set_faults(self, rules: Sequence[str], seed: int, by: str) -> Faults:
        """See `Control.set_faults`."""
        if self.is_draining:
            raise ConflictError("the server is draining")
        try:
            # The configuration takes the texts of rules as well, and holds what they mean.
            values: dict[str, Any] = {"fault": list(rules), "fault_seed": seed, "fault_file": "", "fault_ticket": ""}
            config = replace(self._server.config, **values)
            self._log.info("faults set", rules=list(rules), seed=seed, by=by)
            self._server.reload(config)
        except ConfigError as error:
            raise ControlError(str(error)) from None
        return self.faults()

    def set_log_level(self, level: str, by: str) -> LogLevel:
        """See `Control.set_log_level`."""
        if level not in LEVELS:
            raise ControlError(f"level: {level!r} is refused: must be one of {', '.join(LEVELS)}")
        self._actions.set_log_level(level)
        self._log.warning("log level set", to=level, by=by)
        return self.log_level()

    # -- inside

    def _find(self, name: str) -> Connection:
        if not name.isascii() or not name.isdecimal():
            raise UnknownError(f"there is no connection {name!r}; must be a number, the `id` in the log")
        number = int(name) if len(name) < sys.int_info.default_max_str_digits else 0
        for connection in self._server.connections():
            if connection.number == number:
                return connection
        raise UnknownError(f"there is no open connection {name}")

    def _row(self, connection: Connection, threads: dict[int, str]) -> Row:
        return row_of(connection, self._server.inside.still(connection), threads)


def _kernel(connection: Connection) -> Kernel | None:
    info = connection.ask(lambda transport: tcp_info(transport.fileno()))
    if info is None:
        return None
    return {
        "state": info.state,
        "unread": connection.arrived(),
        "unsent": connection.unacknowledged(),
        "window": info.window,
        "rtt": info.rtt,
        "retransmits": info.retransmits,
    }
