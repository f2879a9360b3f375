"""The PROXY protocol, with which a proxy says whom it speaks for: a parser that does no input or output.

References: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, whose terms this module uses.
"""

from __future__ import annotations

import re
import socket
import struct

from echoserver.net.crc32c import crc32c
from echoserver.net.proxy_header import (
    CRC32C,
    SSL,
    UNIQUE_ID,
    ProxyError,
    ProxyHeader,
    Tlvs,
    find,
    parse_ssl,
    parse_tlvs,
)

MAX_BYTES = 16_384
"""How long a header may be. HAProxy's take up less than a kilobyte, and some more with a client certificate in it."""

_V1 = b"PROXY "
_V1_BYTES = 107
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = struct.Struct("!12sBBH")
_LINE_END = re.compile(rb"[\r\n]")
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")

_PROXY_COMMAND = 1
_UNSPEC, _INET, _INET6, _UNIX = range(4)
_STREAM, _DGRAM = 1, 2
_IP_FAMILIES = {
    _INET: (socket.AF_INET, struct.Struct("!4s4sHH")),
    _INET6: (socket.AF_INET6, struct.Struct("!16s16sHH")),
}
_V1_FAMILIES = {b"TCP4": (socket.AF_INET, "IPv4"), b"TCP6": (socket.AF_INET6, "IPv6")}
_UNIX_ADDRESSES = struct.Struct("!108s108s")
_MOST_OF_A_UNIQUE_ID = 128


class ProxyParser:
    """Finds the header at the beginning of a stream, in whatever pieces it arrives.

    Whether a connection begins with a header has to be known: a peer that may choose could name any address.

    Parameters
    ----------
    max_bytes:
        The longest header that is accepted.

    """

    __slots__ = ("_max_bytes", "_received", "rest")

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._received = b""
        self.rest = b""
        """What came after the header and belongs to the next layer; valid once `feed` has returned the header."""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take what was received, and return the header once it is complete. It must not be called after that.

        What can't become a valid header is refused as early as possible.

        Parameters
        ----------
        data:
            What was received.

        Returns
        -------
        ProxyHeader or None
            The header; `None` while more is needed.

        Raises
        ------
        ProxyError
            The stream does not begin with a valid header.

        """
        received = self._received = self._received + data
        if received[:1] == _V1[:1]:
            return self._feed_v1(received)
        if not _V2.startswith(received[: len(_V2)]):
            raise ProxyError(f"expected a PROXY header, got {received[:16]!r}")
        return self._feed_v2(received)

    def _feed_v1(self, received: bytes) -> ProxyHeader | None:
        if not _V1.startswith(received[: len(_V1)]):
            raise ProxyError(f"expected a PROXY header, got {received[:16]!r}")
        end = _LINE_END.search(received, 0, _V1_BYTES)
        if end is None:
            if len(received) < _V1_BYTES:
                return None
            raise ProxyError(f"PROXY v1: the line has no end within {_V1_BYTES} bytes")
        index = end.start()
        if received[index:] == b"\r" and len(received) < _V1_BYTES:
            return None
        if received[index : index + 2] != b"\r\n" or index + 2 > _V1_BYTES:
            raise ProxyError(f"PROXY v1: the line must end with CRLF within {_V1_BYTES} bytes")
        header = _parse_v1(received[:index])
        self._received, self.rest = b"", received[index + 2 :]
        return header

    def _feed_v2(self, received: bytes) -> ProxyHeader | None:
        # Of what has arrived, each byte is judged before the next: a peer that isn't a proxy is told at once.
        if len(received) > 12 and received[12] >> 4 != 2:
            raise ProxyError(f"PROXY v2: the version is {received[12] >> 4}, and must be 2")
        if len(received) > 12 and received[12] & 15 > _PROXY_COMMAND:
            raise ProxyError(f"PROXY v2: the command is {received[12] & 15}, and must be 0 (LOCAL) or 1 (PROXY)")
        if len(received) < _V2_FIXED.size:
            return None
        _, command, family, length = _V2_FIXED.unpack_from(received)
        size = _V2_FIXED.size + length
        if size > self._max_bytes:
            raise ProxyError(f"PROXY v2: the header has {size} bytes, more than the {self._max_bytes} allowed")
        if len(received) < size:
            return None
        header = _parse_v2(received[:size], command & 15 == _PROXY_COMMAND, family >> 4, family & 15)
        self._received, self.rest = b"", received[size:]
        return header


def _parse_v1(line: bytes) -> ProxyHeader:
    fields = line.split(b" ")
    if fields[1] == b"UNKNOWN":  # the rest of the line is to be ignored
        return ProxyHeader(1, local=True)
    if fields[1] not in _V1_FAMILIES:
        raise ProxyError(f"PROXY v1: the protocol is {fields[1]!r}, and must be TCP4, TCP6 or UNKNOWN")
    if len(fields) != 6:
        raise ProxyError("PROXY v1: expected two addresses and two ports, each after one space")
    hosts = [_parse_host(*_V1_FAMILIES[fields[1]], text) for text in fields[2:4]]
    ports = [_parse_port(text) for text in fields[4:]]
    return ProxyHeader(1, local=False, source=(hosts[0], ports[0]), destination=(hosts[1], ports[1]))


def _parse_host(family: socket.AddressFamily, name: str, text: bytes) -> str:
    try:
        # inet_pton(3) refuses leading zeros in IPv4; writing the address again makes equal ones equal texts.
        return socket.inet_ntop(family, socket.inet_pton(family, text.decode("ascii")))
    except (OSError, ValueError):
        raise ProxyError(f"PROXY v1: {text!r} is not an {name} address") from None


def _parse_port(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise ProxyError(f"PROXY v1: {text!r} is not a port, which is 0 to 65535 without leading zeros")
    return int(text)


def _parse_v2(header: bytes, is_proxied: bool, family: int, protocol: int) -> ProxyHeader:
    if not is_proxied:  # the family, the addresses and what follows them are to be ignored
        return ProxyHeader(2, local=True)
    if family > _UNIX or protocol > _DGRAM:
        raise ProxyError(f"PROXY v2: address family {family} with protocol {protocol} does not exist")
    if protocol == _DGRAM:
        raise ProxyError("PROXY v2: the protocol is DGRAM, and must be STREAM")
    if family == _UNSPEC or protocol != _STREAM:  # what follows has no known form
        return ProxyHeader(2, local=True)
    layout = _UNIX_ADDRESSES if family == _UNIX else _IP_FAMILIES[family][1]
    end = _V2_FIXED.size + layout.size
    if len(header) < end:
        raise ProxyError(f"PROXY v2: the header has {len(header)} bytes, and its addresses end at {end}")
    source, destination, *ports = layout.unpack_from(header, _V2_FIXED.size)
    tlvs = parse_tlvs(header, end)
    _verify_checksum(header, end, tlvs)
    if len(find(tlvs, UNIQUE_ID) or b"") > _MOST_OF_A_UNIQUE_ID:
        raise ProxyError(f"PROXY v2: the unique ID is longer than {_MOST_OF_A_UNIQUE_ID} bytes")
    if (ssl := find(tlvs, SSL)) is not None:
        parse_ssl(ssl)
    if family == _UNIX:
        return ProxyHeader(2, local=False, source=_path(source), destination=_path(destination), tlvs=tlvs)
    system = _IP_FAMILIES[family][0]
    hosts = [socket.inet_ntop(system, packed) for packed in (source, destination)]
    return ProxyHeader(2, local=False, source=(hosts[0], ports[0]), destination=(hosts[1], ports[1]), tlvs=tlvs)


def _verify_checksum(header: bytes, offset: int, tlvs: Tlvs) -> None:
    """Compare the CRC32c, if there is one, with that of the header with zeros in its place (section 2.2.3)."""
    if sum(kind == CRC32C for kind, _ in tlvs) > 1:
        raise ProxyError("PROXY v2: there is more than one CRC32c")
    for kind, value in tlvs:
        offset += 3
        if kind == CRC32C:
            if len(value) != 4:
                raise ProxyError(f"PROXY v2: the CRC32c has {len(value)} bytes, and must have 4")
            if crc32c(header[:offset] + bytes(4) + header[offset + 4 :]) != int.from_bytes(value):
                raise ProxyError("PROXY v2: the CRC32c does not match the header")
        offset += len(value)


def _path(packed: bytes) -> str:
    # An abstract name (unix(7)) begins with a zero byte; a path ends at one.
    name = b"@" + packed[1:].rstrip(b"\0") if packed[:1] == b"\0" else packed.partition(b"\0")[0]
    return "" if name == b"@" else name.decode("utf-8", "backslashreplace")
