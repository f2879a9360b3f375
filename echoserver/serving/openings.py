"""What the connections of each endpoint move their bytes through, and what they go through first."""

from __future__ import annotations

import socket
from importlib import import_module
from typing import TYPE_CHECKING

from echoserver.config import ServerConfig
from echoserver.net.endpoint import Endpoint, TcpEndpoint
from echoserver.net.transport import PlainTransport, Transport
from echoserver.serving.connection import Opening
from echoserver.serving.opening import ProxyOpening

if TYPE_CHECKING:
    from echoserver.serving.handshake import Handshakes


class Openings:
    """Makes the transports of new connections, and their openings.

    Parameters
    ----------
    config:
        Which proxies are trusted, the certificate, and how long each step may take.

    Raises
    ------
    ConfigError
        The certificate can't be used.

    """

    def __init__(self, config: ServerConfig) -> None:
        self._trusted = config.proxy_trusted
        self._proxy_timeout = config.proxy_timeout
        self._handshakes: Handshakes | None = None
        if any(_speaks_tls(endpoint) for endpoint in config.endpoints):
            # A server without TLS does not load the modules for it.
            self._handshakes = import_module("echoserver.serving.handshake").Handshakes(config)

    def begin(self, sock: socket.socket, endpoint: Endpoint) -> tuple[Transport, Opening | None]:
        """Return the transport of a new connection, and what it goes through first; `None` if that is nothing."""
        if self._handshakes is None or not _speaks_tls(endpoint):
            opening = ProxyOpening(sock, self._trusted, self._proxy_timeout) if endpoint.proxy else None
            return PlainTransport(sock), opening
        transport, handshake = self._handshakes.begin(sock)
        if endpoint.proxy:
            return transport, ProxyOpening(sock, self._trusted, self._proxy_timeout, handshake)
        return transport, handshake()


def _speaks_tls(endpoint: Endpoint) -> bool:
    return isinstance(endpoint, TcpEndpoint) and endpoint.tls
