"""Listeners: sockets that accept, bound here, inherited, or adopted from a caller."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from echoserver.net.endpoint import Endpoint, InheritedEndpoint, TcpEndpoint, UnixEndpoint, format_address
from echoserver.net.inherited import inherit
from echoserver.net.tcp import listen_tcp
from echoserver.net.unix import identity, listen_unix, remove


class Listener:
    """A listening socket and where it listens.

    Parameters
    ----------
    sock:
        A listening, non-blocking socket. The listener closes it, and never shuts it down: other processes may listen on
        it too.
    endpoint:
        Where it listens, with the real port. A unix socket that has been bound here goes by the path of its endpoint.
    made_here:
        Whether this process has bound it, and so removes the file of a unix socket at the end.

    """

    __slots__ = ("_file", "endpoint", "name", "sock")

    def __init__(self, sock: socket.socket, endpoint: Endpoint, *, made_here: bool) -> None:
        self.sock = sock
        self.endpoint = endpoint
        self.name = str(endpoint)
        """The endpoint as text, made once for all connections."""
        self._file = identity(endpoint.path) if made_here and isinstance(endpoint, UnixEndpoint) else None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close the socket, and remove the file that came with it."""
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
        How many peers the kernel keeps waiting (listen(2)); a socket that was inherited has its own.
    environment:
        Where systemd says what it has passed.

    Returns
    -------
    list of Listener
        At least one.

    Raises
    ------
    BindError
        It cannot be listened on.
    ConfigError
        There is no such inherited socket.

    """
    if isinstance(endpoint, UnixEndpoint):
        return [Listener(listen_unix(endpoint, backlog), endpoint, made_here=True)]
    if isinstance(endpoint, InheritedEndpoint):
        return [Listener(sock, endpoint_of(sock), made_here=False) for sock in inherit(endpoint, environment)]
    return [Listener(sock, TcpEndpoint.of(sock), made_here=True) for sock in listen_tcp(endpoint, backlog)]


def listen_on_all(endpoints: Sequence[Endpoint], backlog: int, environment: Mapping[str, str]) -> list[Listener]:
    """Listen on several endpoints, or on none of them. Parameters and errors are those of `listen`."""
    listeners: dict[Endpoint, list[Listener]] = {}
    try:
        # Inherited sockets first: one that is not there is refused before anything has been bound.
        for endpoint in sorted(endpoints, key=lambda endpoint: not isinstance(endpoint, InheritedEndpoint)):
            listeners[endpoint] = listen(endpoint, backlog, environment)
    except BaseException:
        for opened in listeners.values():
            for listener in opened:
                listener.close()
        raise
    return [listener for endpoint in endpoints for listener in listeners[endpoint]]


def endpoint_of(sock: socket.socket) -> TcpEndpoint | UnixEndpoint:
    """Return where a socket listens that was not bound here."""
    if sock.family == socket.AF_UNIX:
        return UnixEndpoint(format_address(sock.getsockname()))
    return TcpEndpoint.of(sock)
