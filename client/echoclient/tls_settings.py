"""What the options say about TLS, and the `ssl.SSLContext` made of it. `ssl` is imported when it is needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


class SettingError(ValueError):
    """An option whose value can't be used; the message is one line that says what would be right.

    Attributes:
        option: the option, as it is written on the command line.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class TlsSettings:
    """How to speak TLS.

    Attributes:
        ca: PEM file with the authorities to trust; empty: the system's.
        cert: PEM file with the client's certificate and those of intermediate authorities; empty: none is presented.
        key: PEM file with its private key; empty: the key is in ``cert``.
        servername: the name to ask for, and to expect in the certificate; empty: the target's host.
        insecure: accept any certificate.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    servername: str = ""
    insecure: bool = False

    def check(self) -> None:
        """Read the files.

        Raises:
            SettingError: a value can't be used.
        """
        name = self.servername
        try:
            usable = name.isprintable() and not name.startswith(".") and (name.isascii() or name.encode("idna"))
        except UnicodeError:
            usable = False
        if not usable:
            raise SettingError("--tls-servername", f"{name!r} is not a host name")
        if self.insecure and self.ca:
            raise SettingError("--tls-insecure", "accepts any certificate, --tls-ca checks it: leave out one")
        if self.key and not self.cert:
            raise SettingError("--tls-key", "is the key of a certificate: name the certificate with --tls-cert")
        _ = self.context

    @cached_property
    def context(self) -> ssl.SSLContext:
        """The context, made on first use; `check` says which errors are possible."""
        return self._build()

    def without_name(self) -> ssl.SSLContext:
        """Return a new context that accepts a certificate for any name, if an authority has signed it."""
        context = self._build()
        context.check_hostname = False
        return context

    def _build(self) -> ssl.SSLContext:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # A server may not ask for a new handshake later, so writing never has to wait for reading.
        context.options |= ssl.OP_NO_RENEGOTIATION
        # A server's own certificate can be named with --tls-ca, whoever has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif self.ca:
            _readable("--tls-ca", self.ca)
            try:
                context.load_verify_locations(self.ca)
            except (ssl.SSLError, OSError):
                raise SettingError("--tls-ca", f"{self.ca!r} has no certificate in PEM form") from None
        else:
            context.load_default_certs()
        if self.cert:
            self._present(context)
        return context

    def _present(self, context: ssl.SSLContext) -> None:
        """Load the client's certificate and its key."""
        import ssl

        _readable("--tls-cert", self.cert)
        option, file = ("--tls-key", self.key) if self.key else ("--tls-cert", self.cert)
        _readable(option, file)

        def refuse() -> str:
            raise SettingError(option, f"the key in {file!r} is protected by a password: give one without")

        try:
            context.load_cert_chain(self.cert, self.key or None, password=refuse)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SettingError(option, f"the key in {file!r} does not belong to {self.cert!r}") from None
            if not _has(self.cert, b"CERTIFICATE-----"):
                raise SettingError("--tls-cert", f"{self.cert!r} has no certificate in PEM form") from None
            raise SettingError(option, f"{file!r} has no private key in PEM form that can be read") from None


def _readable(option: str, path: str) -> None:
    """Refuse a path that can't be read, without reading it, because a pipe can be read only once."""
    if os.path.isdir(path):
        raise SettingError(option, f"{path!r} is a directory: name a file")
    if not os.path.exists(path):
        raise SettingError(option, f"{path!r}: no such file")
    if not os.access(path, os.R_OK):
        raise SettingError(option, f"{path!r} can't be read: permission denied")


def _has(path: str, mark: bytes) -> bool:
    with open(path, "rb") as file:
        return mark in file.read()
