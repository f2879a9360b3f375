"""Headers of the PROXY protocol, for a server that expects a proxy in front of it.

References: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import struct

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PROXY = 0x21  # version 2, command PROXY
_TCP_OVER = {4: 0x11, 6: 0x21}

Address = tuple[str, int]


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
