"""What the stress tests of TLS share: certificates that openssl makes, a server that speaks TLS, and its crowd."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stress.kit import PATIENCE, Crowd
from support import Program

_EXTENSIONS = """
subjectAltName=DNS:localhost,IP:127.0.0.1
basicConstraints=CA:FALSE
keyUsage=digitalSignature
extendedKeyUsage=serverAuth,clientAuth
crlDistributionPoints=URI:http://localhost/none.crl
"""
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def needed(name: str, package: str = "") -> str:
    """Return the path of a tool; where it is missing, the test is skipped and says so."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install {package or name}")
    return path


class Certificates:
    """A certificate for localhost and the authority that has signed it, as files."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.cert, self.key = folder / "ca.crt", folder / "cert.pem", folder / "key.pem"
        self.both = folder / "both.pem"
        openssl, authority_key, request = needed("openssl"), folder / "ca.key", folder / "request.pem"
        extensions = folder / "extensions"
        extensions.write_text(_EXTENSIONS)
        own = ["req", "-x509", "-days", "200", "-subj", "/CN=authority of the tests"]
        asked = ["req", *_KEY, "-subj", "/CN=localhost", "-keyout", self.key, "-out", request]
        signing = ["-CA", self.authority, "-CAkey", authority_key, "-CAcreateserial", "-extfile", extensions]
        for arguments in (
            [*own, *_KEY, "-keyout", authority_key, "-out", self.authority],
            asked,
            ["x509", "-req", "-days", "200", "-in", request, *signing, "-out", self.cert],
        ):
            subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True)
        self.both.write_text(self.cert.read_text() + self.key.read_text())

    def trusting(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authority)
        return context


class Secure(Program):
    """A started server that listens with TLS, at `secure`, and without, at `plain`."""

    def __init__(self, certificates: Certificates, mode: str, *options: object, proxy: bool = False) -> None:
        ask = "?proxy=require" if proxy else ""
        listen = ["--listen", f"tls://127.0.0.1:0{ask}", "--listen", f"tcp://127.0.0.2:0{ask}"]
        trusted = ["--proxy-trusted", "127.0.0.1"] if proxy else []
        files = ["--tls-cert", certificates.cert, "--tls-key", certificates.key]
        super().__init__("serve", "--mode", mode, "--log-format", "json", *listen, *trusted, *files, *options)
        try:
            self.secure, self.plain = [(line["host"], line["port"]) for line in map(self.wait_for, ["listening"] * 2)]
        except BaseException:
            self.__exit__()
            raise


class TlsCrowd(Crowd):
    """Polite peers that speak TLS."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, peers: int = 20) -> None:
        self._context = context
        super().__init__(address, peers)

    def _connect(self, address: tuple[str, int]) -> socket.socket:
        sock = self._context.wrap_socket(super()._connect(address), server_hostname="localhost")
        # The session tickets come before the first reply: after it, what is readable is a reply.
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        return sock


@contextmanager
def silent_peers(address: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """Have so many peers connect and say nothing."""
    socks: list[socket.socket] = []
    try:
        for _ in range(count):
            socks.append(socket.create_connection(address, PATIENCE))
        yield socks
    finally:
        for sock in socks:
            sock.close()
