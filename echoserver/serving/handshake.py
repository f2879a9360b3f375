"""The TLS handshake as the opening of a connection. Only a server that listens with TLS loads this."""

from __future__ import annotations

import socket
from collections.abc import Callable

from echoserver.clock import format_duration
from echoserver.config import ServerConfig
from echoserver.net.certificates import Certificates
from echoserver.net.tls import TlsTransport
from echoserver.net.tls_facts import HandshakeError
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection, Opening
from echoserver.serving.interest import Interest
from echoserver.serving.opening import RefusedError, deadline, refused

_INTERESTS = {"read": Interest.READ, "write": Interest.WRITE}


class Handshakes:
    """Makes the transports of TLS endpoints, and their openings.

    Parameters
    ----------
    config:
        The files with the certificate, and how long a handshake may take.

    Raises
    ------
    ConfigError
        A file can't be used.

    """

    def __init__(self, config: ServerConfig) -> None:
        key, authorities = config.tls_key or None, config.tls_client_ca or None
        self.certificates = Certificates(config.tls_cert, key, authorities, config.tls_min_version)
        """What new connections are served with."""
        self._timeout = config.handshake_timeout

    def begin(self, sock: socket.socket) -> tuple[TlsTransport, Callable[[], Opening]]:
        """Return the transport of a new connection, and what makes its opening, whose time limit begins then."""
        transport = TlsTransport(sock, self.certificates.context)
        return transport, lambda: Handshake(transport, self._timeout)


class Handshake:
    """One handshake.

    Parameters
    ----------
    transport:
        The transport of the connection.
    timeout:
        How long it may take, in seconds; 0 is off.

    """

    __slots__ = ("_timeout", "_transport", "deadline")

    late = CloseReason.HANDSHAKE

    def __init__(self, transport: TlsTransport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self.deadline = deadline(timeout)

    def advance(self, connection: Connection) -> Interest | None:
        """Go on with the handshake. See `Opening`."""
        connection.stats.state = ConnectionState.OPENING
        try:
            wanted = self._transport.handshake()
        except HandshakeError as error:
            raise self._failed(connection, str(error)) from None
        if wanted is not None:
            return _INTERESTS[wanted]
        connection.tls = self._transport.tls_info()
        connection.opening = None
        return None

    def _failed(self, connection: Connection, why: str) -> RefusedError:
        if connection.ending is self.late:
            why = f"the TLS handshake was not complete within {format_duration(self._timeout)}"
        elif not self._transport.has_received:
            why = ""
        return refused(connection, why, self.late)
