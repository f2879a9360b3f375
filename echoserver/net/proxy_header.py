"""What a header of the PROXY protocol says: addresses, and facts in type-length-value vectors.

References: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, whose terms this module uses.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from echoserver.errors import EchoServerError

Address = tuple[str, int] | str
"""A host and a port, or the path of a unix socket; an abstract name begins with `@`, an unnamed socket is empty."""

Tlvs = tuple[tuple[int, bytes], ...]


ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x05, 0x20, 0x30
_SSL_VERSION, _SSL_CN, _SSL_CIPHER, _SSL_SIG_ALG, _SSL_KEY_ALG = range(0x21, 0x26)
_SSL_FIXED = struct.Struct("!BI")
_CLIENT_SSL, _CLIENT_CERT_CONN, _CLIENT_CERT_SESS = 1, 2, 4


class ProxyError(EchoServerError):
    """What a peer sent is not a PROXY header, or one that must be refused."""


@dataclass(frozen=True, slots=True)
class ProxySsl:
    """How the client speaks TLS with the proxy (PP2_TYPE_SSL). Texts are `None` where the proxy left them out."""

    over_tls: bool
    certificate_on_connection: bool
    """Whether the client presented a certificate on this connection."""
    certificate_in_session: bool
    """Whether it presented one at least once in the TLS session that this connection belongs to."""
    verify: int
    """0 if the certificate was verified; HAProxy sends 0 where there is none, too."""
    version: str | None
    common_name: str | None
    cipher: str | None
    sig_alg: str | None
    key_alg: str | None

    @property
    def verified(self) -> bool:
        """Whether the client presented a certificate and the proxy has verified it."""
        return self.verify == 0 and (self.certificate_on_connection or self.certificate_in_session)


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says. All texts in it are the proxy's, and some are its client's: log them escaped."""

    version: int
    """1 or 2."""
    local: bool
    """Whether the addresses of the connection itself count: the header names none (LOCAL, UNKNOWN or UNSPEC)."""
    source: Address | None = None
    """The client of the proxy; `None` if `local`."""
    destination: Address | None = None
    """What that client has connected to; `None` if `local`."""
    tlvs: Tlvs = ()
    """The types and values that follow the addresses of version 2, in their order, unknown types included."""

    @property
    def authority(self) -> str | None:
        """The host name that the client asked for, such as the server name of its TLS handshake."""
        return _text(find(self.tlvs, AUTHORITY))

    @property
    def alpn(self) -> str | None:
        """The protocol negotiated with the client by ALPN."""
        return _text(find(self.tlvs, ALPN))

    @property
    def unique_id(self) -> str | None:
        """The proxy's identifier of the connection, of up to 128 bytes."""
        return _text(find(self.tlvs, UNIQUE_ID))

    @property
    def netns(self) -> str | None:
        """The name of the network namespace."""
        return _text(find(self.tlvs, NETNS))

    @property
    def ssl(self) -> ProxySsl | None:
        """How the client speaks TLS with the proxy; `None` if the header does not say."""
        value = find(self.tlvs, SSL)
        return None if value is None else parse_ssl(value)


def parse_tlvs(data: bytes, offset: int) -> Tlvs:
    """Return the vectors from an offset to the end of the data; raise `ProxyError` if the last one is cut."""
    found = []
    while offset < len(data):
        start = offset + 3
        offset = start + int.from_bytes(data[start - 2 : start])
        if start > len(data) or offset > len(data):
            raise ProxyError("PROXY v2: a type-length-value vector ends after the header")
        found.append((data[start - 3], data[start:offset]))
    return tuple(found)


def parse_ssl(value: bytes) -> ProxySsl:
    """Decode the value of PP2_TYPE_SSL (section 2.2.6); raise `ProxyError` if it is malformed."""
    if len(value) < _SSL_FIXED.size:
        raise ProxyError("PROXY v2: the vector about TLS is too short")
    client, verify = _SSL_FIXED.unpack_from(value)
    tlvs = parse_tlvs(value, _SSL_FIXED.size)
    return ProxySsl(
        over_tls=bool(client & _CLIENT_SSL),
        certificate_on_connection=bool(client & _CLIENT_CERT_CONN),
        certificate_in_session=bool(client & _CLIENT_CERT_SESS),
        verify=verify,
        version=_text(find(tlvs, _SSL_VERSION)),
        common_name=_text(find(tlvs, _SSL_CN)),
        cipher=_text(find(tlvs, _SSL_CIPHER)),
        sig_alg=_text(find(tlvs, _SSL_SIG_ALG)),
        key_alg=_text(find(tlvs, _SSL_KEY_ALG)),
    )


def find(tlvs: Tlvs, wanted: int) -> bytes | None:
    """Return the value of the first vector of a type."""
    return next((value for kind, value in tlvs if kind == wanted), None)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
