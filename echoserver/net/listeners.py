"""All listeners of a server: bound by it when it starts, or given to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence

from echoserver.errors import ConfigError
from echoserver.net.endpoint import Endpoint, TcpEndpoint
from echoserver.net.inherited import adopt
from echoserver.net.listener import Listener, endpoint_of, listen_on_all


class Listeners:
    """The listeners of one server.

    Parameters
    ----------
    given:
        Sockets that were bound elsewhere; `None` if the server is to bind its own.

    Raises
    ------
    ConfigError
        One of those given is not a listening socket, or none is given.

    """

    def __init__(self, given: Sequence[socket.socket | Listener] | None) -> None:
        self._given = None if given is None else [_adopted(listener) for listener in dict.fromkeys(given)]
        if self._given == []:
            raise ConfigError("listeners is refused: must have at least one listening socket")
        self._open: list[Listener] = []

    @property
    def were_given(self) -> bool:
        """Whether other processes may listen on them, too."""
        return self._given is not None

    def open(self, endpoints: Sequence[Endpoint], backlog: int) -> list[Listener]:
        """Return those given, or else listen on the endpoints; see `listen_on_all` for the errors."""
        self._open = listen_on_all(endpoints, backlog, os.environ) if self._given is None else self._given
        return self._open

    def __iter__(self) -> Iterator[Listener]:
        if not self._open:
            raise RuntimeError("the server has not been started")
        return iter(self._open)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """All endpoints, as `--listen` takes them, with the real ports."""
        return tuple(str(listener.endpoint) for listener in self)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """All TCP addresses."""
        endpoints = [listener.endpoint for listener in self]
        return tuple((entry.host, entry.port) for entry in endpoints if isinstance(entry, TcpEndpoint))

    @property
    def address(self) -> tuple[str, int]:
        """The first TCP address; raises `RuntimeError` if there is none."""
        if not self.addresses:
            raise RuntimeError(f"the server listens on no TCP address, but on {', '.join(self.endpoints)}")
        return self.addresses[0]


def _adopted(listener: socket.socket | Listener) -> Listener:
    if isinstance(listener, Listener):
        return Listener(listener.sock, listener.endpoint, made_here=False)
    return Listener(adopt(listener), endpoint_of(listener), made_here=False)
