"""What the log says about a connection: one line when it has ended, and one when its handler is stuck."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Mapping
from threading import enumerate as enumerate_threads
from time import monotonic
from typing import Protocol

from echoserver.errors import OpeningError, PeerError
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason, ConnectionStats


class LoggedTls(Protocol):
    """What the log needs to know about TLS."""

    @property
    def version(self) -> str:
        """Such as `TLSv1.3`."""

    @property
    def cipher(self) -> str:
        """The cipher suite, as OpenSSL calls it."""

    @property
    def server_name(self) -> str | None:
        """The host name that the client asked for."""


class LoggedTransport(Protocol):
    """What the log needs to know about a transport."""

    @property
    def log_facts(self) -> Mapping[str, object]:
        """What there is to say of it; usually nothing."""


class LoggedConnection(Protocol):
    """What the log needs to know about a connection."""

    @property
    def number(self) -> int:
        """Its number in this server, from 1."""

    @property
    def peer(self) -> str:
        """The peer's address as `host:port`."""

    @property
    def proxied_by(self) -> str | None:
        """The address of the proxy that speaks for the peer."""

    @property
    def tls(self) -> LoggedTls | None:
        """What was negotiated; `None` without TLS."""

    @property
    def transport(self) -> LoggedTransport:
        """What it moves its bytes through."""

    @property
    def endpoint(self) -> str:
        """What the peer has connected to."""

    @property
    def stats(self) -> ConnectionStats:
        """What it has moved."""

    @property
    def opened_at(self) -> float:
        """When it was accepted, on the monotonic clock in seconds."""

    @property
    def reason(self) -> CloseReason:
        """How it ended."""

    @property
    def error(self) -> BaseException | None:
        """What broke it: the handler's exception, or the socket's."""

    @property
    def served_by(self) -> int:
        """The identity of the thread that serves it."""


def log_end(log: Logger, connection: LoggedConnection) -> None:
    """Log how a connection ended and what it moved."""
    stats, error = connection.stats, connection.error
    facts = {
        "id": connection.number,
        "peer": connection.peer,
        **({} if connection.proxied_by is None else {"proxy": connection.proxied_by}),
        **_of_tls(connection.tls),
        "endpoint": connection.endpoint,
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "replies": stats.replies,
        "seconds": round(monotonic() - connection.opened_at, 6),
        "reason": connection.reason.value,
        **connection.transport.log_facts,
    }
    if isinstance(error, OSError) and connection.reason is CloseReason.RESET:
        # OpenSSL has error numbers of its own, and a name for the reason.
        name = getattr(error, "reason", None) or errno.errorcode.get(error.errno or 0, str(error))
        facts["error"] = name
    elif isinstance(error, OpeningError | PeerError):
        if words := str(error):
            facts["error"] = words
            log.info("connection ended", **facts)
            return
    elif error is not None:
        log.error("connection ended", **facts, exc_info=error)
        return
    # A health probe connects and closes without sending a byte: not worth a line at info. A handler that speaks first
    # may have served its peer without one.
    if stats.bytes_in or stats.bytes_out or connection.transport.log_facts:
        log.info("connection ended", **facts)
    else:
        log.debug("connection ended", **facts)


def _of_tls(tls: LoggedTls | None) -> dict[str, str]:
    if tls is None:
        return {}
    facts = {"tls": tls.version, "cipher": tls.cipher}
    return facts if tls.server_name is None else {**facts, "sni": tls.server_name}


def log_stuck(log: Logger, connection: LoggedConnection, handler_name: str) -> None:
    """Log which handler keeps its thread for too long, and where in its code that thread is."""
    thread = next((thread.name for thread in enumerate_threads() if thread.ident == connection.served_by), "?")
    log.error(
        "handler stuck",
        id=connection.number,
        peer=connection.peer,
        endpoint=connection.endpoint,
        handler=handler_name,
        thread=thread,
        stack=_stack_of(connection.served_by),
    )


def _stack_of(thread: int) -> str:
    """Return where a thread is, as a traceback shows it; empty if the thread has ended."""
    gil_enabled = getattr(sys, "_is_gil_enabled", None)
    if gil_enabled is not None and not gil_enabled():
        # Without the interpreter lock the thread goes on running while its frames are read.
        return "not available: a free-threaded interpreter can't read another thread's stack safely"
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame else ""
