"""The opening of connections that come through a proxy: each begins with a PROXY header."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from echoserver.clock import format_duration
from echoserver.handlers import Proxied
from echoserver.net.proxy_header import ProxyError, ProxyHeader
from echoserver.net.proxy_reader import ProxyReader
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection, Opening
from echoserver.serving.hosts import contains
from echoserver.serving.interest import Interest
from echoserver.serving.opening import RefusedError, deadline, refused


class ProxyOpening:
    """Requires a PROXY header from a source that is trusted to send one.

    Parameters
    ----------
    sock:
        The socket of the connection.
    trusted:
        The networks of the proxies. Peers of a unix socket are trusted: the permissions of its file say who they are.
    timeout:
        How long the header may take, in seconds; 0 is off.
    following:
        Makes what comes after it, which gets its time from then on; `None` if that is the handler.

    """

    __slots__ = ("_following", "_reader", "_timeout", "_trusted", "deadline")

    late = CloseReason.PROXY

    def __init__(
        self,
        sock: socket.socket,
        trusted: Sequence[IPv4Network | IPv6Network],
        timeout: float,
        following: Callable[[], Opening] | None = None,
    ) -> None:
        self._following = following
        self._reader = ProxyReader(sock)
        self._trusted = trusted
        self._timeout = timeout
        self.deadline = deadline(timeout)

    def advance(self, connection: Connection) -> Interest | None:
        """Receive the header and act on it. See `Opening`."""
        connection.stats.state = ConnectionState.OPENING
        host = connection.host
        if not self._reader.has_received and host is not None and not contains(self._trusted, host):
            raise refused(connection, "the source is not in proxy_trusted")
        try:
            header = None if connection.abrupt else self._reader.read()
        except BlockingIOError:
            return Interest.READ
        except ProxyError as error:
            raise refused(connection, str(error)) from None
        if header is None:
            raise self._ended(connection)
        self._enter(connection, header)
        if self._following is None:
            connection.opening = None
            return None
        connection.opening = self._following()
        return connection.opening.advance(connection)

    def _ended(self, connection: Connection) -> RefusedError:
        """Return what to raise for a stream that has ended too early, or that another thread has shut down."""
        if connection.ending is self.late:
            return refused(connection, f"no complete PROXY header within {format_duration(self._timeout)}")
        if self._reader.has_received:
            return refused(connection, "the stream ended within the PROXY header")
        return refused(connection, "")

    @staticmethod
    def _enter(connection: Connection, header: ProxyHeader) -> None:
        """Take over the addresses in the header, and count the connection for its host."""
        connection.proxied = Proxied(connection.peer, header)
        if not header.local:
            connection.session.address = header.source
        host = connection.host
        if host is not None and not connection.lease.enter_proxied_host(host):
            raise refused(connection, f"the host {host} has as many connections as one may have", CloseReason.KILLED)
