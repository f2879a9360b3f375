"""Where to connect, and how it is written on the command line."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9000
_FORMS = "write a port, host, host:port or [v6]:port"


@dataclass(frozen=True)
class Target:
    """A host (name or address) and a TCP port."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        """Return the form that `parse_target` reads back: ``host:port`` or ``[v6]:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(text: str) -> Target:
    """Read ``port``, ``host``, ``host:port``, ``[v6]:port``, ``[v6]`` or a bare IPv6 address.

    Raises:
        ValueError: the text is none of these; the message names it and says what would be right.
    """
    if text.isascii() and text.isdigit():
        return Target(port=_port(text, text))
    if "://" in text:
        raise ValueError(f"{text!r} is a URL: leave out the part up to '://', {_FORMS}")
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an address in brackets: write [::1]:{DEFAULT_PORT}")
        return Target(_v6(address, text), _port(rest[1:], text) if rest else DEFAULT_PORT)
    if text.count(":") > 1:
        return Target(_v6(text, text))
    host, colon, port = text.partition(":")
    if not host:
        raise ValueError(f"{text!r} names no host: {_FORMS}")
    if not host.isprintable() or set(host) & set(" /@[]%"):
        raise ValueError(f"{text!r} has a character that is not allowed in a host name: {_FORMS}")
    return Target(host, _port(port, text) if colon else DEFAULT_PORT)


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
