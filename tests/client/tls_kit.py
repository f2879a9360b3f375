"""Certificates in files, servers that speak TLS, and servers that get it wrong."""

from __future__ import annotations

import datetime
import functools
import ssl
from pathlib import Path
from typing import Any

import pytest

from client.kit import Manners, run
from support import Program

trustme: Any = pytest.importorskip("trustme", reason="needs trustme, which is in the extra `dev`")

AUTHORITY, STRANGER = trustme.CA(), trustme.CA()
LONG_AGO = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


class Files:
    """Certificates and keys of one test; each attribute is the path of a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        server = AUTHORITY.issue_cert("localhost", "127.0.0.1")
        self.ca = self._write("ca.pem", AUTHORITY.cert_pem)
        self.cert = self._write("cert.pem", *server.cert_chain_pems)
        self.key = self._write("key.pem", server.private_key_pem)
        self.client = self._write("client.pem", AUTHORITY.issue_cert("one@example").private_key_and_cert_chain_pem)
        self.stranger = self._write("stranger.pem", STRANGER.issue_cert("two@example").private_key_and_cert_chain_pem)
        self.stranger_ca = self._write("stranger_ca.pem", STRANGER.cert_pem)

    def _write(self, name: str, *blobs: Any) -> str:
        path = self.directory / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)


class Service(Program):
    """`echoserver serve` on endpoints with free ports; `ports` has them in the order of the endpoints."""

    def __init__(self, files: Files, *endpoints: str, more: tuple[object, ...] = (), **changes: str) -> None:
        listen = [text for endpoint in endpoints for text in ("--listen", endpoint)]
        tls = ["--tls-cert", files.cert, "--tls-key", files.key] if any("tls:" in text for text in endpoints) else []
        super().__init__("serve", *listen, *tls, *more, **changes)
        self.ports = [self.wait_for("listening").get("port") for _ in endpoints]


def only_tls12(files: Files) -> dict[str, str]:
    """Return the environment in which a process speaks no newer version than TLS 1.2."""
    settings = files.directory / "openssl.cnf"
    settings.write_text(
        "openssl_conf = start\n[start]\nssl_conf = parts\n[parts]\nsystem_default = all\n[all]\nMaxProtocol = TLSv1.2\n"
    )
    return {"OPENSSL_CONF": str(settings)}


@functools.cache
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def over_tls(manners: Manners, context: ssl.SSLContext | None = None) -> Manners:
    """Return the same manners behind a handshake. What they get is an `ssl.SSLSocket`."""

    def serve(connection: Any) -> None:
        with (context or server_context()).wrap_socket(connection, server_side=True) as tls:
            manners(tls)

    return serve


def failure(*arguments: object, stdin: bytes = b"") -> str:
    """Run `echoclient`, which must fail with status 1, and return its one line without the name of the program."""
    result = run(*arguments, stdin=stdin)
    lines = result.stderr.decode().splitlines()
    assert (result.returncode, len(lines)) == (1, 1), result.stderr
    return lines[0].removeprefix("echoclient: ")


def refusal(*arguments: object) -> str:
    """Run `echoclient`, which must refuse its arguments, and return the line that says why."""
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    *usage, line = result.stderr.decode().splitlines()
    assert [text for text in usage if text and not text.startswith(("Usage: ", "Try "))] == []
    return line.removeprefix("Error: ")
