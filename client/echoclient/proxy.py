"""Headers of the PROXY protocol, for a server that expects a proxy in front of it.

References: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Literal

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21  # version 2 with the command LOCAL or PROXY
_TCP_OVER = {4: 0x11, 6: 0x21}

Address = tuple[str, int]
# The headers of a proxy that speaks for itself.
_WITHOUT_ADDRESSES = {"v1": b"PROXY UNKNOWN\r\n", "v2": _SIGNATURE + struct.pack("!BBH", _LOCAL, 0, 0)}


@dataclass(frozen=True)
class ProxySettings:
    """The header with which each connection begins.

    Attributes:
        version: of the protocol.
        source: the client that the header names; ``None``: the connection's own address.
    """

    version: Literal["v1", "v2"]
    source: Address | None = None

    def header(self, sock: socket.socket) -> bytes:
        """Return the header for a connected socket.

        A unix socket has no addresses. So the header says LOCAL or UNKNOWN there; or, if a source is given, that it
        connected to port 0 of the unspecified address.
        """
        encode = encode_v1 if self.version == "v1" else encode_v2
        if sock.family != socket.AF_UNIX:
            return encode(self.source or sock.getsockname()[:2], sock.getpeername()[:2])
        if self.source is None:
            return _WITHOUT_ADDRESSES[self.version]
        return encode(self.source, ("::" if ":" in self.source[0] else "0.0.0.0", 0))  # noqa: S104 - nothing is bound


def parse_source(text: str) -> Address:
    """Read ``192.0.2.1:56324`` or ``[2001:db8::1]:56324``.

    Raises:
        ValueError: the text is neither; the message is one line that says what would be right.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5) or bracketed != (":" in host):
            raise ValueError
        address = (host.strip("[]"), int(port))
        _parse(address)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address with a port: write 192.0.2.1:56324 or [2001:db8::1]:56324"
        ) from None
    return address


def format_source(source: Address) -> str:
    """Write an address as `parse_source` reads it."""
    host, port = source
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def encode_v1(source: Address, destination: Address) -> bytes:
    """Return the header of version 1, one line of text.

    Args:
        source: the IP address and the port of the client that the proxy speaks for.
        destination: what that client connected to. If only one of the two is an IPv4 address, it is written as the
            IPv6 address that maps it.

    Raises:
        ValueError: with one line that names the address or port that is none.
    """
    (source_ip, source_port), (destination_ip, destination_port) = _of_one_family(source, destination)
    version = source_ip.version
    return f"PROXY TCP{version} {source_ip} {destination_ip} {source_port} {destination_port}\r\n".encode("ascii")


def encode_v2(source: Address, destination: Address) -> bytes:
    """Return the header of version 2, which is binary. Parameters and errors are those of `encode_v1`."""
    (source_ip, source_port), (destination_ip, destination_port) = _of_one_family(source, destination)
    addresses = source_ip.packed + destination_ip.packed + struct.pack("!HH", source_port, destination_port)
    return _SIGNATURE + struct.pack("!BBH", _PROXY, _TCP_OVER[source_ip.version], len(addresses)) + addresses


_Parsed = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]


def _of_one_family(source: Address, destination: Address) -> tuple[_Parsed, _Parsed]:
    (source_ip, source_port), (destination_ip, destination_port) = _parse(source), _parse(destination)
    if source_ip.version != destination_ip.version:
        source_ip, destination_ip = _mapped(source_ip), _mapped(destination_ip)
    return (source_ip, source_port), (destination_ip, destination_port)


def _parse(address: Address) -> _Parsed:
    host, port = address
    try:
        # The scope of a link-local address means nothing on another machine, and the protocol can't carry it.
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address") from None
    if not 0 <= port <= 65_535:
        raise ValueError(f"{port} is not a port, which is a number from 0 to 65535")
    return ip, port


def _mapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return ip if isinstance(ip, ipaddress.IPv6Address) else ipaddress.IPv6Address(f"::ffff:{ip}")
