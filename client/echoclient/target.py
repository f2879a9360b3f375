"""Where to connect, and how it is written on the command line."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoclient.tls_settings import TlsSettings

if TYPE_CHECKING:
    from echoclient.proxy import ProxySettings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9000
DEFAULT_TLS_PORT = 9443
# Bytes of a path that fit into the address of a unix socket, before the zero that ends it (unix(7)).
LONGEST_PATH = 107
_FORMS = "write a port, host, host:port or [v6]:port, or one of these after tls://, or unix:/path"


@dataclass(frozen=True)
class Target:
    """Where a server is, and what is spoken to it before the first byte of the exchange.

    Attributes:
        host: name or address; unused with ``path``.
        port: TCP port; unused with ``path``.
        path: of a unix socket; empty for TCP.
        tls: how to speak TLS; ``None`` is plain.
        proxy: the PROXY header to begin with, if any.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    path: str = field(default="", kw_only=True)
    tls: TlsSettings | None = field(default=None, kw_only=True)
    proxy: ProxySettings | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        """Return the form that `parse_target` reads back: ``host:port`` or ``[v6]:port``, ``tls://`` or ``unix:``."""
        if self.path:
            return f"unix:{self.path}"
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"tls://{place}" if self.tls else place

    @property
    def name(self) -> str:
        """The name or address that the server's certificate must have."""
        # The scope of a link-local address is known on this machine alone.
        return (self.tls.servername if self.tls else "") or self.host.partition("%")[0]


def parse_target(text: str) -> Target:
    """Read ``port``, ``host``, ``host:port``, ``[v6]:port``, ``[v6]`` or a bare IPv6 address; also after ``tls://``.

    ``unix:/path`` is the path of a unix socket.

    Raises:
        ValueError: the text is none of these; the message names it and says what would be right.
    """
    if text.startswith("unix:") and not text[5:].isdigit():
        return Target(path=_path(text))
    if text.startswith("tls://"):
        host, port = _place(text.removeprefix("tls://"), text, DEFAULT_TLS_PORT)
        return Target(host, port, tls=TlsSettings())
    if "://" in text:
        raise ValueError(f"{text!r} is a URL: leave out the part up to '://', {_FORMS}")
    return Target(*_place(text, text, DEFAULT_PORT))


def _place(place: str, text: str, default: int) -> tuple[str, int]:
    """Return host and port of ``place``, which is ``text`` or the end of it."""
    if place.isascii() and place.isdigit():
        return DEFAULT_HOST, _port(place, text)
    if place.startswith("["):
        address, closed, rest = place[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an address in brackets: write {text.partition('[')[0]}[::1]:{default}")
        return _v6(address, text), _port(rest[1:], text) if rest else default
    if place.count(":") > 1:
        return _v6(place, text), default
    host, colon, port = place.partition(":")
    if not host:
        raise ValueError(f"{text!r} names no host: {_FORMS}")
    if not host.isprintable() or set(host) & set(" /@[]%"):
        raise ValueError(f"{text!r} has a character that is not allowed in a host name: {_FORMS}")
    return host, _port(port, text) if colon else default


def _path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"{text!r} is not a path from the root: write unix:/run/echo.sock")
    if not path.isprintable():
        raise ValueError(f"{text!r} has a character that is not allowed in a path here: name a path of printable text")
    if len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"{text!r} is longer than the {LONGEST_PATH} bytes that a unix socket's path may have")
    return path


def _v6(address: str, text: str) -> str:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 address: {_FORMS}") from None
    return address


def _port(digits: str, text: str) -> int:
    # The length is checked first, because int() refuses thousands of digits with a message of its own.
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise ValueError(f"{text!r}: {digits!r} is not a port, which is a number from 1 to 65535")
    return int(digits)
