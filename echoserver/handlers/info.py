"""What the server sees of a connection, as one line of JSON (RFC 8259): for tests of proxies and load balancers."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

from echoserver.handlers.handler import Handler, Last
from echoserver.handlers.peer import Peer
from echoserver.net.proxy_header import (
    ALPN,
    AUTHORITY,
    CRC32C,
    NETNS,
    SSL,
    UNIQUE_ID,
    Address,
    ProxyHeader,
    parse_ssl,
)
from echoserver.version import __version__

_NOOP = 0x04
_NAMES = {
    ALPN: "alpn",
    AUTHORITY: "authority",
    CRC32C: "crc32c",
    _NOOP: "noop",
    UNIQUE_ID: "unique_id",
    SSL: "ssl",
    NETNS: "netns",
}
_TEXTS = {ALPN, AUTHORITY, UNIQUE_ID, NETNS}


class Info(Handler):
    """Say in one JSON object what the server sees of the connection, and end it."""

    blocking: ClassVar[bool] = False

    def greet(self) -> Last:
        """Return the object and a newline."""
        # Only ASCII is left in the text, and of that `json` escapes all control characters but one.
        text = json.dumps(describe(self.peer)).replace("\x7f", "\\u007f")
        return Last(text.encode("ascii") + b"\n")

    def feed(self, _data: bytes) -> bytes:
        """Return nothing: what comes is thrown away."""
        return b""


def describe(peer: Peer) -> dict[str, object]:
    """Return what is known of a connection, as values that JSON can express."""
    return {
        "id": peer.connection,
        "peer": _written(peer.address),
        "local": _written(peer.local),
        "endpoint": _written(peer.endpoint),
        "proxied_by": None if peer.proxied_by is None else _written(peer.proxied_by),
        "proxy": None if peer.proxy is None else _describe_header(peer.proxy),
        "tls": None if peer.tls is None else _of_fields(peer.tls),
        "mode": peer.mode,
        "version": __version__,
    }


def _describe_header(header: ProxyHeader) -> dict[str, object]:
    return {
        "version": header.version,
        "local": header.local,
        "source": _describe_address(header.source),
        "destination": _describe_address(header.destination),
        "tlvs": [_describe_tlv(kind, value) for kind, value in header.tlvs],
    }


def _describe_address(address: Address | None) -> str | None:
    if address is None or isinstance(address, str):
        return None if address is None else _written(address)
    return Peer(*address).address


def _describe_tlv(kind: int, value: bytes) -> dict[str, object]:
    """Return one vector: its bytes, and if its type is known what they mean."""
    shown: dict[str, object] = {"type": f"0x{kind:02x}", "name": _NAMES.get(kind), "hex": value.hex()}
    if kind in _TEXTS:
        shown["text"] = value.decode("utf-8", "backslashreplace")
    elif kind == SSL:
        ssl = parse_ssl(value)  # the server refuses a header in which it is malformed
        shown["ssl"] = {**_of_fields(ssl), "verified": ssl.verified}
    return shown


def _of_fields(facts: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(facts)
    assert not isinstance(facts, type)
    values = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    return {name: _written(value) if isinstance(value, str) else value for name, value in values.items()}


def _written(text: str) -> str:
    r"""Return a text with bytes that are not UTF-8, which Python keeps as surrogates, escaped as in `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()
