"""Running a server as a process: what each signal does, the regular statistics, and the summary at the end."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import monotonic
from typing import Any

from echoserver.clock import Deadline
from echoserver.errors import EchoServerError
from echoserver.observe.logs import LogWriter
from echoserver.observe.metrics import ConnectionState
from echoserver.server import Server

# What our own threads say on the socket on which signals arrive as their numbers, which begin with 1 and end below 128.
_DRAINED, _FAILED = 0, 255
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def shortage_as_error() -> Iterator[None]:
    """Turn what is raised when the system has no thread more, or no memory for one, into an error for the user."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        hint = "allow more processes (ulimit -u, --pids-limit) or more memory (ulimit -v)"
        raise EchoServerError(f"cannot start: {error}; {hint}") from error
    except MemoryError as error:
        raise EchoServerError(f"cannot start: {error or 'no memory'}; allow more memory, or fewer workers") from error


def operate(server: Server, writer: LogWriter, inbox: socket.socket, outbox: socket.socket) -> None:
    """Act on signals until the server has stopped.

    The drain runs in a thread of its own, so that this one still hears the second signal, which cuts it short.

    Parameters
    ----------
    server:
        A started server.
    writer:
        Its log.
    inbox, outbox:
        A socket pair; each signal that arrives writes its number to `outbox`.

    Raises
    ------
    BindError
        The server had to stop because it could not go on accepting.
    EchoServerError
        The system starts no more threads.

    """
    log = writer.logger
    asked_to_drain = threading.Event()
    cut: list[str] = []
    failures: list[EchoServerError] = []  # as `cut`, written by a thread before it says so on the socket

    def drain() -> None:
        asked_to_drain.wait()
        try:
            cut.extend(server.stop())
        finally:
            outbox.send(bytes([_DRAINED]))

    def watch() -> None:
        try:
            server.wait()
        except EchoServerError as error:
            failures.append(error)
            outbox.send(bytes([_FAILED]))

    # Both from the start: when it is time to stop, the system may have no thread to spare.
    helpers = [threading.Thread(target=work, name=work.__name__, daemon=True) for work in (watch, drain)]
    with shortage_as_error():
        for helper in helpers:
            helper.start()
    next_stats = Deadline(server.config.stats_interval)
    while True:
        inbox.settimeout(next_stats.timeout())
        try:
            said = inbox.recv(1)[0]
        except (TimeoutError, BlockingIOError):  # no time was left to wait
            log.info("stats", **_facts(server, writer))
            next_stats = Deadline(server.config.stats_interval)
            continue
        if said == _DRAINED:
            break
        if said == signal.SIGUSR1:
            _dump(server, writer)
        elif not asked_to_drain.is_set():
            log.info("draining", connections=len(server.connections()), **_cause(said))
            asked_to_drain.set()
        elif said in _STOP_SIGNALS:
            log.warning("cutting", connections=len(server.connections()), **_cause(said))
            server.cut()
    for helper in helpers:
        helper.join()  # `watch` may yet have to say that the server failed while it drained
    writer.patient_logger.info("stopped", cut=cut, **_facts(server, writer))
    if failures:
        raise failures[0]


def _cause(said: int) -> dict[str, str]:
    return {"cause": "failure" if said == _FAILED else signal.Signals(said).name}


def _facts(server: Server, writer: LogWriter) -> dict[str, Any]:
    facts = {**asdict(server.stats()), "log_dropped": writer.dropped}
    # What only the other mode counts is left out.
    return {name: value for name, value in facts.items() if value is not None}


def _dump(server: Server, writer: LogWriter) -> None:
    """Log the counters, a line for each connection, and all threads by name."""
    log, now = writer.logger, monotonic()
    writer.patient_logger.info("stats", **_facts(server, writer))
    for connection in server.connections():
        tally = connection.stats
        log.info(
            "connection",
            id=connection.number,
            peer=connection.peer,
            phase=ConnectionState(tally.state).name.lower(),
            seconds=round(now - connection.opened_at, 3),
            bytes_in=tally.bytes_in,
            bytes_out=tally.bytes_out,
            replies=tally.replies,
        )
    log.info("threads", names=sorted(thread.name for thread in threading.enumerate()))
