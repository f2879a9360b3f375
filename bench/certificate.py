"""The certificate of the TLS workloads, made by `openssl` when it is first needed."""

from __future__ import annotations

import atexit
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1, signed by its own key, in the format PEM.

    Attributes
    ----------
    certificate:
        The file of the certificate.
    key:
        The file of its private key: P-256, as most servers have today.
    """

    certificate: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        """Return a context that accepts this certificate alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        return context


@cache
def certificate() -> Certificate | None:
    """Return the certificate, which is made on the first call; `None` without the command `openssl`."""
    command = shutil.which("openssl")
    if command is None:
        return None
    made = Certificate(Path(_folder().name) / "certificate.pem", Path(_folder().name) / "key.pem")
    options = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    options += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    finished = subprocess.run(  # noqa: S603 - openssl, with our own arguments
        [command, *options, "-keyout", str(made.key), "-out", str(made.certificate)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return made if finished.returncode == 0 else None


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="bench-certificate-")
    atexit.register(folder.cleanup)
    return folder
