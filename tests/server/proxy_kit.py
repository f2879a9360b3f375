"""Building PROXY headers and taking them apart."""

from __future__ import annotations

import struct

import pytest

from echoserver.net.proxy import ProxyParser
from echoserver.net.proxy_header import ProxyError, ProxyHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 56324, 443)
IPV4_SOURCE, IPV4_DESTINATION = ("192.0.2.1", 56324), ("198.51.100.2", 443)


def v2(addresses: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses) if length is None else length) + addresses


def tlv(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("!BH", kind, len(value) if length is None else length) + value


def parse(data: bytes, **limits: int) -> ProxyHeader:
    """Parse a complete header with nothing after it."""
    parser = ProxyParser(**limits)
    header = parser.feed(data)
    assert header is not None
    assert parser.rest == b""
    return header


def refusal(data: bytes) -> str:
    with pytest.raises(ProxyError) as caught:
        ProxyParser().feed(data)
    return str(caught.value)
