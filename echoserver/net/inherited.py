"""Listening sockets that this process has inherited: from a program that left a descriptor open, or from systemd."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, MutableMapping

from echoserver.errors import ConfigError
from echoserver.net.endpoint import InheritedEndpoint
from echoserver.net.options import prepare

_FIRST = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


def named_descriptors(environment: Mapping[str, str], pid: int) -> list[tuple[str, int]]:
    """Return the names and numbers of the listening sockets that systemd has passed to this process.

    A name may stand for several. Where systemd gave none it is `unknown` (sd_listen_fds_with_names(3)).

    Parameters
    ----------
    environment:
        The environment of the process.
    pid:
        Its process ID: the variables may have been meant for a parent.

    """
    if environment.get("LISTEN_PID") != str(pid) or not environment.get("LISTEN_FDS", "").isdecimal():
        return []
    count = int(environment["LISTEN_FDS"])
    names = environment.get("LISTEN_FDNAMES", "").split(":") if environment.get("LISTEN_FDNAMES") else []
    return [(names[index] if index < len(names) else "unknown", _FIRST + index) for index in range(count)]


def forget_descriptors(environment: MutableMapping[str, str]) -> None:
    """Remove systemd's variables, so that no child of this process takes the sockets for its own."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)


def inherit(endpoint: InheritedEndpoint, environment: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that an endpoint stands for.

    Raises
    ------
    ConfigError
        There is none, or it does not listen.

    """
    if not endpoint.by_systemd:
        return [_socket(endpoint, int(endpoint.name))]
    passed = named_descriptors(environment, os.getpid())
    numbers = [number for name, number in passed if name == endpoint.name]
    if not numbers:
        there = ", ".join(sorted({name for name, _ in passed})) or "none"
        problem = f"systemd has passed no socket of that name to this process; it has passed {there}"
        raise ConfigError(f"{endpoint} is refused: {problem}", key="listen")
    return [_socket(endpoint, number) for number in numbers]


def _socket(endpoint: InheritedEndpoint, number: int) -> socket.socket:
    try:
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
    except OSError as error:
        problem = f"descriptor {number} is no open socket ({os.strerror(error.errno or 0)})"
        raise ConfigError(f"{endpoint} is refused: {problem}; must be a socket that listens", key="listen") from None
    try:
        return adopt(sock)
    except ConfigError as error:
        sock.detach()  # it is not ours to close
        raise ConfigError(f"{endpoint} is refused: {error.problem}", key="listen") from None


def adopt(sock: socket.socket) -> socket.socket:
    """Prepare a listening socket that somebody else bound, and return it.

    It becomes non-blocking. Where it is TCP, what it accepts answers without delay (TCP_NODELAY) and receives urgent
    data in its place (SO_OOBINLINE). Other processes may listen on it too, so it is never shut down.

    Raises
    ------
    ConfigError
        It is closed, is no stream socket, or does not listen.

    """
    number = sock.fileno()
    try:
        # The kernel's word, since Python's is only what the caller said when making the object.
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
            raise _refusal(number, "it is not a stream socket")
        if hasattr(socket, "SO_ACCEPTCONN") and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise _refusal(number, "it does not listen")
        prepare(sock)
    except OSError as error:
        problem = "it is closed" if error.errno == errno.EBADF else os.strerror(error.errno or 0)
        raise _refusal(number, problem) from None
    return sock


def _refusal(number: int, problem: str) -> ConfigError:
    return ConfigError(f"cannot accept on socket {number}: {problem}; must be a stream socket that listens")
