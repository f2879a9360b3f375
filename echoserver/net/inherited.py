"""Listening sockets that this process has inherited from systemd or another parent, or is given in Python."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping, MutableMapping

from echoserver.errors import ConfigError
from echoserver.net.endpoint import InheritedEndpoint
from echoserver.net.options import prepare

_FIRST = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


def named_descriptors(environment: Mapping[str, str], pid: int) -> list[tuple[str, int]]:
    """Return the names and numbers of the sockets that systemd has passed to this process (sd_listen_fds(3)).

    Several may have the same name. Without names each is `unknown`.

    Parameters
    ----------
    environment:
        The environment of the process.
    pid:
        Its process ID; variables with another one are meant for another process.

    Raises
    ------
    ValueError
        The variables contradict each other, or are not numbers.

    """
    if environment.get("LISTEN_PID") != str(pid):
        return []
    text = environment.get("LISTEN_FDS", "0")
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(f"LISTEN_FDS is {text!r}; must be a number")
    count = int(text)
    if "LISTEN_FDNAMES" not in environment:
        return [("unknown", _FIRST + index) for index in range(count)]
    names = environment["LISTEN_FDNAMES"].split(":")
    if len(names) != count:
        raise ValueError(f"LISTEN_FDNAMES has {len(names)} names; must have {count}, as LISTEN_FDS says")
    return [(name, _FIRST + index) for index, name in enumerate(names)]


def forget_descriptors(environment: MutableMapping[str, str]) -> None:
    """Remove systemd's variables, so that no child process takes the sockets for its own."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        environment.pop(name, None)


def descriptors(endpoint: InheritedEndpoint, environment: Mapping[str, str]) -> list[int]:
    """Return the numbers of the descriptors that an endpoint stands for; at least one.

    Raises
    ------
    ConfigError
        systemd has passed none of that name.

    """
    if not endpoint.by_systemd:
        return [int(endpoint.name)]
    try:
        passed = named_descriptors(environment, os.getpid())
    except ValueError as error:
        raise _refused(endpoint, str(error)) from None
    numbers = [number for name, number in passed if name == endpoint.name]
    if not numbers:
        there = ", ".join(sorted({name for name, _ in passed})) or "none (LISTEN_FDS and LISTEN_PID)"
        raise _refused(endpoint, f"systemd has passed no socket of that name to this process; it has passed {there}")
    return numbers


def inherit(endpoint: InheritedEndpoint, number: int) -> socket.socket:
    """Return an inherited listening socket, which child processes do not inherit in turn.

    Raises
    ------
    ConfigError
        The descriptor is not that of a listening stream socket. It stays as it was.

    """
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        problem = f"descriptor {number} is not a socket ({os.strerror(error.errno or 0)}); must be one that listens"
        raise _refused(endpoint, problem) from None
    try:
        adopt(sock)
    except ConfigError as error:
        problem = error.problem
        if _is_connected(sock):
            problem = (
                f"descriptor {number} is a connection; must be a socket that listens (Accept=no in a systemd unit)"
            )
        sock.detach()  # it is not ours to close
        raise _refused(endpoint, problem) from None
    sock.set_inheritable(False)
    return sock


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _refused(endpoint: InheritedEndpoint, problem: str) -> ConfigError:
    return ConfigError(f"{endpoint} is refused: {problem}", key="listen")


def adopt(sock: socket.socket) -> socket.socket:
    """Prepare a listening socket that was bound elsewhere, and return it.

    It becomes non-blocking. If it is a TCP socket, what it accepts sends without delay (TCP_NODELAY) and receives
    urgent data in its place (SO_OOBINLINE). Other processes may listen on it too, so it is never shut down.

    Raises
    ------
    ConfigError
        It is closed, is no stream socket of TCP or unix(7), doesn't listen, or is a TLS socket: its `accept` waits for
        the handshake.

    """
    number = sock.fileno()
    try:
        # The kernel's word, since Python's is only what the caller said when making the object.
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
            raise _refusal(number, "it is not a stream socket")
        if hasattr(socket, "SO_ACCEPTCONN") and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise _refusal(number, "it does not listen")
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            raise _refusal(number, "it is neither a TCP socket nor a unix socket")
        if type(sock).accept is not socket.socket.accept:
            raise _refusal(number, "it wraps what it accepts, as TLS does")
        prepare(sock)
    except OSError as error:
        problem = "it is closed" if error.errno == errno.EBADF else os.strerror(error.errno or 0)
        raise _refusal(number, problem) from None
    return sock


def _refusal(number: int, problem: str) -> ConfigError:
    return ConfigError(f"cannot accept on socket {number}: {problem}; must be a stream socket that listens")
