"""What TLS tells of a connection: what has been negotiated, and in words why it failed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from sys import intern
from typing import Any, Self

from echoserver.net.client_hello import server_name

# What OpenSSL calls it when the first bytes are those of another protocol.
_NOT_TLS = {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}


class HandshakeError(OSError):
    """The TLS handshake failed. The text says why: the alert, the verification error, or what the peer did."""


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What has been negotiated, for logs and handlers. The texts about the client are its own: log them escaped."""

    version: str
    """Such as `TLSv1.3`."""
    cipher: str
    alpn: str | None
    server_name: str | None
    """The host name that the client asked for."""
    subject: str | None
    """The subject of the client's certificate, such as `organizationName=Example, commonName=client`."""
    serial: str | None
    """The serial number of the client's certificate, in hexadecimal."""

    @classmethod
    def of(cls, tls: ssl.SSLObject, flight: bytes) -> Self:
        """Return the facts of a connection whose handshake is complete.

        Parameters
        ----------
        tls:
            The connection.
        flight:
            What the client sent first; see `server_name`.

        """
        cipher, certificate = tls.cipher(), tls.getpeercert()
        subject = serial = None
        if certificate:
            names: Any = certificate.get("subject", ())
            subject = ", ".join(f"{name}={value}" for group in names for name, value in group)
            serial = str(certificate.get("serialNumber", ""))
        return cls(
            # Every connection keeps these, and most have the same.
            version=intern(tls.version() or ""),
            cipher=intern(cipher[0]) if cipher else "",
            alpn=tls.selected_alpn_protocol(),
            server_name=server_name(flight),
            subject=subject,
            serial=serial,
        )


def why_failed(error: ssl.SSLError) -> str:
    """Return in words why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate does not verify: {error.verify_message}"
    reason = error.reason or ""
    words = reason.lower().replace("_", " ")
    if reason in _NOT_TLS:
        return f"the peer does not speak TLS: {words}"
    _, is_alert, alert = words.partition(" alert ")
    if is_alert:
        return f"the peer sent the alert: {alert}"
    return words or str(error)
