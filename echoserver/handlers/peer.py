"""What a handler learns of the connection that it serves.

A handler never gets the connection itself, and most handlers ask for nothing but the peer's address. So a `Peer` has
the address and one reference, and everything else is read through that when it is asked for: a connection on which
nobody asks costs hardly more memory, and no system call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a server without TLS or PROXY does not load these
    from echoserver.net.proxy_header import ProxyHeader
    from echoserver.net.tls_facts import TlsInfo


@dataclass(frozen=True, slots=True)
class Proxied:
    """What came before the bytes of a connection behind a proxy."""

    by: str
    """The address of the proxy."""
    header: ProxyHeader


class Facts(Protocol):
    """Where a `Peer` reads the facts about its connection: the connection itself, or in a test a `ConnectionFacts`."""

    @property
    def number(self) -> int:
        """See `Peer.connection`."""

    @property
    def endpoint(self) -> str:
        """See `Peer.endpoint`."""

    @property
    def mode(self) -> str:
        """See `Peer.mode`."""

    @property
    def local(self) -> str:
        """See `Peer.local`."""

    @property
    def tls(self) -> TlsInfo | None:
        """See `Peer.tls`."""

    @property
    def proxied(self) -> Proxied | None:
        """See `Peer.proxy` and `Peer.proxied_by`."""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """Facts about a connection that no server has accepted, for the tests of a handler."""

    number: int = 0
    endpoint: str = ""
    mode: str = ""
    local: str = ""
    tls: TlsInfo | None = None
    proxied: Proxied | None = None


_NOTHING_KNOWN = ConnectionFacts()


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, and what the server knows of the connection.

    Texts in `tls` and `proxy` are the peer's own, and may be anything: log them escaped.
    """

    host: str
    """The address without the port; on a unix socket the process and the user, such as `pid=7,uid=1000`. Behind a proxy
    it is the address that the header names."""
    port: int | None
    """The port; `None` on a unix socket."""
    facts: Facts = field(default=_NOTHING_KNOWN, repr=False, compare=False)
    """Where the properties come from that describe the connection."""

    @property
    def address(self) -> str:
        """The address as people write it, such as `127.0.0.1:5000` or `[::1]:5000`."""
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def connection(self) -> int:
        """The number of the connection in this server, from 1: the `id` in the log."""
        return self.facts.number

    @property
    def endpoint(self) -> str:
        """What the peer has connected to, such as `tls://0.0.0.0:9443`."""
        return self.facts.endpoint

    @property
    def mode(self) -> str:
        """How the server serves the connection: `threads` or `workers`."""
        return self.facts.mode

    @property
    def local(self) -> str:
        """The server's own address of the connection, such as `192.0.2.1:9443`; empty once the connection is closed.

        Unlike `endpoint`, it says which of the machine's addresses the peer has used. On a unix socket it is the path.
        """
        if self.endpoint.startswith("unix:"):
            # The kernel knows another one: the file is renamed after its socket has been bound.
            return self.endpoint.removeprefix("unix:").partition("?")[0]
        return self.facts.local

    @property
    def tls(self) -> TlsInfo | None:
        """What was negotiated in the TLS handshake, and who the client's certificate says it is; `None` without TLS."""
        return self.facts.tls

    @property
    def proxy(self) -> ProxyHeader | None:
        """The PROXY header with which the connection began; `None` on an endpoint that requires none."""
        return None if self.facts.proxied is None else self.facts.proxied.header

    @property
    def proxied_by(self) -> str | None:
        """The address of the proxy that sent the header; `None` on an endpoint that requires none."""
        return None if self.facts.proxied is None else self.facts.proxied.by
