"""What OpenSSL's errors mean to a user."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from echoclient.errors import ClosedError, TlsError, UntrustedError, WrongNameError

if TYPE_CHECKING:
    from echoclient.errors import ClientError
    from echoclient.target import Target

# Results of X509_verify_cert_error_string(3).
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED = 9, 10, 18
_UNKNOWN_AUTHORITY = {2, 19, 20, 21}
_WRONG_NAME = {62, 64}

# What OpenSSL says of an answer that is not TLS. The second is a ClientHello that comes back.
_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "UNEXPECTED_MESSAGE",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "BAD_RECORD_TYPE",
}
_NO_COMMON_VERSION = {"UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "WRONG_SSL_VERSION", "VERSION_TOO_LOW"}
# For instance TLSV13_ALERT_CERTIFICATE_REQUIRED and SSLV3_ALERT_HANDSHAKE_FAILURE, from the server.
_ALERT = re.compile(r"^(?:SSLV3|TLSV1|TLSV13|TLS)_ALERT_(\w+)$")
# Alerts about the client's certificate (RFC 8446, 6.2).
_REFUSING = {
    "BAD_CERTIFICATE": "it is not valid",
    "UNSUPPORTED_CERTIFICATE": "it is of an unsupported kind",
    "CERTIFICATE_REVOKED": "it is revoked",
    "CERTIFICATE_EXPIRED": "it has expired",
    "CERTIFICATE_UNKNOWN": "it is not acceptable",
    "UNKNOWN_CA": "it does not know the authority",
    "DECRYPT_ERROR": "its signature is wrong",
    "ACCESS_DENIED": "access is denied",
}


def explain(error: ssl.SSLError, target: Target) -> ClientError:
    """Return the error to raise for what OpenSSL says of a connection; its message is one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(error, target)
    if isinstance(error, ssl.SSLEOFError):
        return TlsError(f"{target}: the stream ended without close_notify, so it may be incomplete")
    reason = error.reason or ""
    if alert := _ALERT.match(reason):
        return _alerted(alert[1], target)
    if reason in _NO_TLS:
        return TlsError(f"{target}: the server does not speak TLS at this port")
    if reason in _NO_COMMON_VERSION:
        return TlsError(f"{target}: the server offers no version of TLS that this client speaks (1.2 and 1.3)")
    return TlsError(f"{target}: {_words(reason) or str(error).lower()}")


def explain_handshake(error: ssl.SSLError, target: Target) -> ClientError:
    """Return the same for an error before the handshake is complete, when an early end is no loss of data."""
    if isinstance(error, ssl.SSLEOFError):
        return ClosedError(f"{target}: the server closed the connection during the TLS handshake")
    return explain(error, target)


def _unverified(error: ssl.SSLCertVerificationError, target: Target) -> ClientError:
    code = error.verify_code
    if code in _WRONG_NAME:
        return WrongNameError(f"{target}: the certificate is not for {target.name}")
    if code == _EXPIRED:
        return UntrustedError(f"{target}: the certificate has expired")
    if code == _NOT_YET_VALID:
        return UntrustedError(f"{target}: the certificate is not valid yet")
    if code == _SELF_SIGNED:
        return UntrustedError(f"{target}: the certificate is self-signed; to trust it, name it with --tls-ca")
    if code in _UNKNOWN_AUTHORITY:
        return UntrustedError(
            f"{target}: the certificate is signed by an unknown authority; to trust it, name its file with --tls-ca"
        )
    return UntrustedError(f"{target}: the certificate does not verify: {error.verify_message}")


def _alerted(alert: str, target: Target) -> ClientError:
    has_certificate = bool(target.tls and target.tls.cert)
    if alert == "CERTIFICATE_REQUIRED":
        return UntrustedError(f"{target}: the server requires a client's certificate; give one with --tls-cert")
    if has_certificate and alert in _REFUSING:
        return UntrustedError(f"{target}: the server refused the client's certificate: {_REFUSING[alert]}")
    if alert == "PROTOCOL_VERSION":
        return TlsError(f"{target}: the server refused the versions of TLS that this client speaks (1.2 and 1.3)")
    said = f"{target}: the server ended TLS with the alert {_words(alert)!r}"
    if alert == "HANDSHAKE_FAILURE" and not has_certificate:  # so ends a handshake of TLS 1.2 without a certificate
        return UntrustedError(f"{said}; if it requires a client's certificate, give one with --tls-cert")
    return TlsError(said)


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
