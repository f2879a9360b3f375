"""What the connections of each endpoint move their bytes through, and what they go through first."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from echoserver.config import ServerConfig
from echoserver.net.endpoint import Endpoint, TcpEndpoint
from echoserver.net.transport import PlainTransport, Transport
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import Metrics
from echoserver.serving.connection import Opening

if TYPE_CHECKING:
    from echoserver.serving.handshake import Handshakes
    from echoserver.serving.proxied import ProxyOpening
    from echoserver.serving.renewal import Renewal


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
        # A server without TLS or PROXY does not load the modules for it.
        self._handshakes: Handshakes | None = None
        self._proxy_opening: type[ProxyOpening] | None = None
        if any(endpoint.proxy for endpoint in config.endpoints):
            self._proxy_opening = import_module("echoserver.serving.proxied").ProxyOpening
        if any(_speaks_tls(endpoint) for endpoint in config.endpoints):
            self._handshakes = import_module("echoserver.serving.handshake").Handshakes(config)

    def renewal(self, metrics: Metrics, log: Logger) -> Renewal | None:
        """Return what reads the certificate of the TLS endpoints again; `None` without any."""
        if self._handshakes is None:
            return None
        renewal: Renewal = import_module("echoserver.serving.renewal").Renewal(
            self._handshakes.certificates, metrics, log
        )
        return renewal

    def begin(self, sock: socket.socket, endpoint: Endpoint) -> tuple[Transport, Opening | None]:
        """Return the transport of a new connection, and what it goes through first; `None` if that is nothing."""
        if self._handshakes is None or not _speaks_tls(endpoint):
            return PlainTransport(sock), self._behind_proxy(sock) if endpoint.proxy else None
        transport, handshake = self._handshakes.begin(sock)
        if endpoint.proxy:
            return transport, self._behind_proxy(sock, handshake)
        return transport, handshake()

    def _behind_proxy(self, sock: socket.socket, following: Callable[[], Opening] | None = None) -> Opening:
        assert self._proxy_opening is not None, "some endpoint requires it"
        return self._proxy_opening(sock, self._trusted, self._proxy_timeout, following)


def _speaks_tls(endpoint: Endpoint) -> bool:
    return isinstance(endpoint, TcpEndpoint) and endpoint.tls
