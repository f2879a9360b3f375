"""The certificate that new connections are served with, read from its files again where they have changed."""

from __future__ import annotations

import ssl
from threading import Lock

from echoserver.net.tls_context import CertificateWatch, expires_at, make_context


class Certificates:
    """A certificate, its key and the authorities for clients, as their files were when they were last read.

    Parameters
    ----------
    cert, key, client_ca, min_version:
        See `make_context`.

    Raises
    ------
    ConfigError
        A file can't be read or used.

    """

    def __init__(self, cert: str, key: str | None, client_ca: str | None, min_version: str) -> None:
        self._cert, self._key, self._client_ca, self._min_version = cert, key, client_ca, min_version
        # Looked at before they are read: a change in between is noticed at the next look.
        self._watch = CertificateWatch([path for path in (cert, key, client_ca) if path])
        # Held from the first file to the swap: of two threads that read, the one that read last also swaps last. No
        # thread that serves asks for it.
        self._lock = Lock()
        self.context = self._load()
        """What new connections are served with. It is never changed, only replaced as a whole."""

    def _load(self) -> ssl.SSLContext:
        return make_context(self._cert, self._key, self._client_ca, self._min_version)

    def reload(self) -> None:
        """Read the files again, for connections from now on. Where this raises, nothing has changed.

        Raises
        ------
        ConfigError
            A file can't be read or used.

        """
        with self._lock:
            self.context = self._load()

    def changed(self) -> bool:
        """Return whether a file has changed since this was last asked; for one thread."""
        return self._watch.changed()

    @property
    def path(self) -> str:
        """The path of the certificate."""
        return self._cert

    def expires_at(self) -> float:
        """Return when the certificate in the file expires, in seconds since the epoch. Raises as `reload`."""
        return expires_at(self._cert)
