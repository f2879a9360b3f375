"""Connects to a server, with retries: over TCP or a unix socket, with a PROXY header and TLS as the target says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, TypeVar

from echoclient.connection import CHUNK, Session
from echoclient.durations import Deadline, format_duration
from echoclient.errors import ClientError, RefusedError, TimedOutError, WrongNameError, from_os_error
from echoclient.names import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.target import Target

__all__ = ["CHUNK", "Session", "connect", "open_session", "resolve", "retry"]

T = TypeVar("T")
# Seconds between two tries: short at first, to use a server as soon as it has started; later longer, to spare the
# network.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


def connect(
    target: Target,
    *,
    timeout: float = 0,
    wait: float = 0,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Session:
    """Connect, trying each address that the name resolves to, and retrying for up to ``wait`` seconds.

    Args:
        target: where to connect.
        timeout: seconds for one try, including the name look-up; 0 is no limit but the kernel's.
        wait: seconds to keep trying; 0 is one try.
        say: called with one line that says what the call waits for.
        stop: set by another thread to give up between two tries.

    Raises:
        ClientError: why the last try failed.
    """
    return retry(
        lambda deadline: open_session(target, deadline),
        target,
        timeout=timeout,
        wait=wait,
        say=say,
        stop=stop,
    )


def retry(
    attempt: Callable[[Deadline], T],
    target: Target,
    *,
    timeout: float,
    wait: float,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> T:
    """Call ``attempt`` until it succeeds or the time is up; for the parameters, see `connect`."""
    give_up = Deadline(wait)
    # The pause between two tries waits for it: setting it, or Ctrl-C in the main thread, ends the pause at once.
    stop = stop or threading.Event()
    pause, last_word = FIRST_PAUSE, ""
    while True:
        try:
            return attempt(give_up.within(timeout or None) if wait else Deadline(timeout or None))
        except ClientError as error:
            if error.final:
                raise
            left = give_up.remaining() or 0
            if not left or stop.wait(min(pause, left)) or give_up.passed():
                if not wait:
                    raise
                raise error.adding(f"gave up after {format_duration(wait)}") from error
            if say and error.word != last_word:
                say(f"waiting up to {format_duration(wait)} for {target} ({error.word})")
            last_word = error.word
        pause = min(2 * pause, LONGEST_PAUSE)


def open_session(target: Target, deadline: Deadline) -> Session:
    """Try each address that the name resolves to once; then send the PROXY header and shake hands as the target says.

    Raises:
        ClientError: none answered, or the handshake was not complete, by the deadline.
    """
    sock = _open_socket(target, deadline)
    try:
        if target.tls is None:
            return Session(sock, target)
        from echoclient.tls_session import certificate_names, secure

        try:
            return secure(sock, target, deadline)
        except WrongNameError as error:
            # The names can be read after a handshake alone, so another one accepts any.
            names = ""
            with contextlib.suppress(ClientError), _open_socket(target, deadline) as another:
                names = certificate_names(another, target, deadline)
            if names:
                raise error.adding(f"it is for {names}") from None
            raise
    except BaseException:
        sock.close()
        raise


def _open_socket(target: Target, deadline: Deadline) -> socket.socket:
    """Return a connected socket, blocking, on which the PROXY header was sent."""
    sock = _open_unix(target, deadline) if target.path else _open_tcp(target, deadline)
    if target.proxy is None:
        return sock
    try:
        sock.sendall(target.proxy.header(sock))  # the first bytes, and few: the kernel takes them at once
    except OSError as error:
        sock.close()
        raise from_os_error(error, target) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(target: Target, deadline: Deadline) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # If the listener's queue is full, a blocking connect(2) waits for as long as a send may take, and a
        # non-blocking one, which `settimeout` would make of it, fails at once.
        _limit_sending(sock, deadline.remaining())
        sock.connect(target.path)
        _limit_sending(sock, None)
    except BlockingIOError:
        sock.close()
        raise TimedOutError(f"{target}: no answer") from None
    except OSError as error:
        sock.close()
        raise from_os_error(error, target) from error
    except BaseException:  # Ctrl-C
        sock.close()
        raise
    return sock


def _limit_sending(sock: socket.socket, seconds: float | None) -> None:
    limit = 0 if seconds is None else max(round(seconds * 1e6), 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", *divmod(limit, 1_000_000)))


def _open_tcp(target: Target, deadline: Deadline) -> socket.socket:
    addresses = resolve(target, deadline)
    errors = []
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        # Each address gets an equal share of the time left, so that one that drops packets can't use up all of it.
        left = deadline.remaining()
        share = None if left is None else max(left / (len(addresses) - tried), 0.001)
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # for instance because this machine has no IPv6
            errors.append(from_os_error(error, target))
            continue
        try:
            sock.settimeout(share)
            sock.connect(address)
            sock.settimeout(None)
            if sock.getsockname() != sock.getpeername():
                return sock
            # If nothing listens on a port in the range for outgoing connections, the kernel may choose that same port
            # for our end, and connect the socket to itself (RFC 9293, 3.5: simultaneous open).
            errors.append(RefusedError(f"{target}: connection refused"))
        except OSError as error:
            errors.append(from_os_error(error, target))
        except BaseException:  # Ctrl-C
            sock.close()
            raise
        sock.close()
    # The first that is not OTHER, which often says only that there is no route; if all are OTHER, the first.
    raise min(errors, key=lambda error: error.word == ClientError.word)
