"""Listeners: sockets that accept, bound here, inherited, or adopted from a caller."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from echoserver.errors import ConfigError
from echoserver.net.endpoint import Endpoint, InheritedEndpoint, TcpEndpoint, UnixEndpoint, format_address
from echoserver.net.inherited import descriptors, inherit
from echoserver.net.tcp import listen_tcp
from echoserver.net.unix import identity, listen_unix, remove


class Listener:
    """A listening socket and where it listens.

    Parameters
    ----------
    sock:
        A listening, non-blocking socket. The listener closes it and never shuts it down, since other processes may
        listen on it too.
    endpoint:
        Where it listens, with the real port.
    made_here:
        Whether this process has bound it. If it is a unix socket, the listener then removes its file at the end.

    """

    __slots__ = ("_file", "endpoint", "name", "sock")

    def __init__(self, sock: socket.socket, endpoint: Endpoint, *, made_here: bool) -> None:
        self.sock = sock
        self.endpoint = endpoint
        self.name = str(endpoint)
        """The endpoint as text, which all its connections share."""
        self._file = identity(endpoint.path) if made_here and isinstance(endpoint, UnixEndpoint) else None

    @property
    def owns_file(self) -> bool:
        """Whether it removes the file of its unix socket at the end."""
        return self._file is not None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def facts(self) -> dict[str, object]:
        """Return where it listens, for the log."""
        endpoint = self.endpoint
        where = {"host": endpoint.host, "port": endpoint.port} if isinstance(endpoint, TcpEndpoint) else {}
        return {"endpoint": self.name, "address": endpoint.address, **where}

    def close(self) -> None:
        """Close the socket, and remove its file if it was made here and is still the same. May be called again."""
        if isinstance(self.endpoint, UnixEndpoint):
            remove(self.endpoint.path, self._file)
            self._file = None
        self.sock.close()


def listen(endpoint: Endpoint, backlog: int, environment: Mapping[str, str]) -> list[Listener]:
    """Listen on an endpoint.

    Parameters
    ----------
    endpoint:
        Where to listen. A host name stands for all of its addresses.
    backlog:
        How many peers the kernel keeps waiting (listen(2)); an inherited socket keeps its own.
    environment:
        The environment of the process, in which systemd says which sockets it has passed.

    Returns
    -------
    list of Listener
        At least one.

    Raises
    ------
    BindError
        The endpoint cannot be listened on.
    ConfigError
        There is no such inherited socket.

    """
    if isinstance(endpoint, TcpEndpoint):
        bound = [(sock, TcpEndpoint.of(sock)) for sock in listen_tcp(endpoint, backlog)]
        return [Listener(sock, replace(endpoint, host=at.host, port=at.port), made_here=True) for sock, at in bound]
    if isinstance(endpoint, UnixEndpoint):
        return [Listener(listen_unix(endpoint, backlog), endpoint, made_here=True)]
    found: list[Listener] = []
    try:
        for number in descriptors(endpoint, environment):
            sock = inherit(endpoint, number)
            found.append(Listener(sock, replace(endpoint_of(sock), proxy=endpoint.proxy), made_here=False))
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def listen_on_all(endpoints: Sequence[Endpoint], backlog: int, environment: Mapping[str, str]) -> list[Listener]:
    """Listen on several different endpoints, or on none of them. Parameters and errors are those of `listen`."""
    _refuse_the_same_descriptor(endpoints, environment)
    listeners: dict[Endpoint, list[Listener]] = {}
    try:
        # Inherited sockets come first: one that is not there is refused before anything is bound.
        for endpoint in sorted(endpoints, key=lambda endpoint: not isinstance(endpoint, InheritedEndpoint)):
            listeners[endpoint] = listen(endpoint, backlog, environment)
    except BaseException:
        for opened in listeners.values():
            for listener in opened:
                listener.close()
        raise
    return [listener for endpoint in endpoints for listener in listeners[endpoint]]


def _refuse_the_same_descriptor(endpoints: Sequence[Endpoint], environment: Mapping[str, str]) -> None:
    users: dict[int, InheritedEndpoint] = {}
    for endpoint in [entry for entry in endpoints if isinstance(entry, InheritedEndpoint)]:
        for number in descriptors(endpoint, environment):
            if (other := users.setdefault(number, endpoint)) != endpoint:
                problem = f"descriptor {number} is that of {other} too; name it once"
                raise ConfigError(f"{endpoint} is refused: {problem}", key="listen")


def endpoint_of(sock: socket.socket) -> TcpEndpoint | UnixEndpoint:
    """Return where a socket listens that was bound elsewhere."""
    if sock.family == socket.AF_UNIX:
        return UnixEndpoint(format_address(sock.getsockname()))
    return TcpEndpoint.of(sock)
