"""Making the TLS context of a listener out of files, and noticing when the files change."""

from __future__ import annotations

import os
import ssl
from calendar import timegm
from collections.abc import Sequence
from time import strptime

from echoserver.errors import ConfigError

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# For TLS 1.2. Those of TLS 1.3 are all of this kind: forward secrecy and authenticated encryption.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_CERTIFICATE, _KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"
_PEM_END = "-----END CERTIFICATE-----"
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


class _PasswordNeededError(Exception):
    """The key is protected."""


def make_context(
    cert: str, key: str | None = None, client_ca: str | None = None, min_version: str = "1.2"
) -> ssl.SSLContext:
    """Make the context that connections are served with. Once in use it must not be changed, only replaced.

    Parameters
    ----------
    cert:
        The path of a PEM file: the server's certificate, then those of the intermediate authorities.
    key:
        The path of a PEM file with the private key; `None` if it is in the same file as the certificate.
    client_ca:
        The path of a PEM file with the authorities whose certificates clients must present; `None` asks clients for
        none.
    min_version:
        The oldest version of TLS: 1.2 or 1.3.

    Raises
    ------
    ConfigError
        A file can't be read or used.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[min_version]
    # A peer that may renegotiate can make the server compute again and again (CVE-2011-1473).
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    _load_certificate(context, cert, key)
    if client_ca is not None:
        if _CERTIFICATE not in _read(client_ca, "tls_client_ca"):
            raise ConfigError(f"{client_ca!r} holds no certificate in PEM form", key="tls_client_ca")
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{client_ca!r} can't be used: {_words(error)}", key="tls_client_ca") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    if _CERTIFICATE not in _read(cert, "tls_cert"):
        raise ConfigError(f"{cert!r} holds no certificate in PEM form", key="tls_cert")
    option, path = ("tls_cert", cert) if key is None else ("tls_key", key)
    if _KEY not in _read(path, option):
        hint = "" if key else ": name the file that does with --tls-key"
        raise ConfigError(f"{path!r} holds no private key in PEM form{hint}", key=option)

    def no_password() -> str:
        raise _PasswordNeededError

    try:
        context.load_cert_chain(cert, key, no_password)
    except _PasswordNeededError:
        message = f"the key in {path!r} is protected by a password: store it without one (openssl pkey)"
        raise ConfigError(message, key=option) from None
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            message = f"the key in {path!r} does not belong to the certificate in {cert!r}"
        else:
            message = f"{cert!r} with the key in {path!r} can't be used: {_words(error)}"
        raise ConfigError(message, key=option) from error


def _read(path: str, option: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ConfigError(f"{path!r} can't be read: {_words(error)}", key=option) from error


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def expires_at(cert: str) -> float:
    """Return when the first certificate of a PEM file expires, in seconds since the epoch.

    Raises
    ------
    ConfigError
        The file can't be read, or its first certificate is malformed.

    """
    text = _read(cert, "tls_cert").decode("ascii", "replace")
    begin, end = text.find(_CERTIFICATE.decode()), text.find(_PEM_END)
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin : end + len(_PEM_END)]))
    except (ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"{cert!r} holds no certificate in PEM form", key="tls_cert") from error


def _not_after(der: bytes) -> float:
    """Find the end of the validity in a certificate (RFC 5280, section 4.1)."""
    certificate, _ = _element(der)
    fields, _ = _element(certificate)
    if fields[0] == 0xA0:  # the version, which the first version leaves out
        _, fields = _element(fields)
    for _ in range(3):  # the serial number, the algorithm, the issuer
        _, fields = _element(fields)
    validity, _ = _element(fields)
    _, rest = _element(validity)
    text, _ = _element(rest)
    formats = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
    # strptime reads the years 50 to 68 as those of this century, and X.509 as those of the last: long past either way.
    return float(timegm(strptime(text.decode("ascii"), formats[rest[0]])))


def _element(der: bytes) -> tuple[bytes, bytes]:
    """Return the content of the first element of DER, and what follows the element."""
    length, begin = der[1], 2
    if length & 0x80:  # the length of the length
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin])
    return der[begin : begin + length], der[begin + length :]


class CertificateWatch:
    """Notices that files have changed, or that a link on the way to one has (as Kubernetes swaps them).

    It belongs to the thread that asks it.

    Parameters
    ----------
    paths:
        The files.

    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._seen = self._look()

    def changed(self) -> bool:
        """Return whether a file has changed since this was last asked. Read the files after that, not before."""
        before, self._seen = self._seen, self._look()
        return before != self._seen

    def _look(self) -> list[tuple[int, int, int, int] | None]:
        return [_identity(path) for path in self._paths]


def _identity(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # it may be about to be replaced
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
