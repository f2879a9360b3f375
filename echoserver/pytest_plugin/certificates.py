"""Certificates for the servers of a test."""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trustme

_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: what a server presents, and what its clients have to trust."""

    cert: str
    key: str
    ca: str

    def client_context(self) -> ssl.SSLContext:
        """Return a context for clients that trust `ca` and nothing else."""
        context = ssl.create_default_context(cafile=self.ca)
        # A certificate that a test brings need not be that of an authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


@cache
def _authority() -> trustme.CA:
    try:
        import trustme
    except ImportError:
        problem = "tls=True needs trustme to make a certificate: pip install trustme, or give files: tls=(cert, key)"
        raise RuntimeError(problem) from None
    return trustme.CA()


def make_certificate(files: ExitStack) -> TlsFiles:
    """Make a certificate for this machine, in files that are removed when `files` is closed.

    Raises
    ------
    RuntimeError
        trustme is not installed.

    """
    authority = _authority()
    folder = Path(files.enter_context(TemporaryDirectory(prefix="tcp_server-")))
    cert, key, ca = (os.fspath(folder / name) for name in ("cert.pem", "key.pem", "ca.pem"))
    issued = authority.issue_cert(*_NAMES)
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(cert, append=number > 0)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    return TlsFiles(cert, key, ca)
