"""PROXY headers of a real HAProxy, in front of a socket that captures them."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoserver.net.proxy import ProxyParser
from echoserver.net.proxy_header import ProxyHeader

pytestmark = pytest.mark.stress

PATIENCE = 20.0
HAPROXY = """
defaults
  mode tcp
  timeout connect {patience}s
  timeout client {patience}s
  timeout server {patience}s
frontend front
  bind fd@{front} {tls}
  unique-id-format id-%pid
  default_backend back
backend back
  server captured 127.0.0.1:{port} {options}
"""
EVERYTHING = "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,crc32c,unique-id,authority"


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install haproxy openssl")
    return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `localhost.pem` and `client.pem`, each with its key, and signed by itself."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("localhost", "client"):
        key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
        new = [tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"]
        subprocess.run([*new, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        (folder / f"{name}.pem").write_text(certificate.read_text() + key.read_text())
    return folder


@pytest.fixture
def captured() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


class Proxy:
    """A HAProxy in front of a listener."""

    def __init__(self, folder: Path, listener: socket.socket, options: str, tls: str) -> None:
        # It inherits the socket it listens on, since it can't be asked which port it got.
        self._front = socket.create_server(("127.0.0.1", 0))
        self.address = self._front.getsockname()
        front, port = self._front.fileno(), listener.getsockname()[1]
        file = folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(patience=int(PATIENCE), front=front, port=port, options=options, tls=tls))
        self._process = subprocess.Popen([tool("haproxy"), "-q", "-db", "-f", str(file)], pass_fds=[front])

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._front.close()
        self._process.kill()
        self._process.wait()


def header_of(listener: socket.socket) -> tuple[ProxyHeader, bytes]:
    """Accept what HAProxy opens, and parse its header; return it with the bytes of the next layer."""
    accepted, _ = listener.accept()
    with accepted:
        accepted.settimeout(PATIENCE)
        parser, header = ProxyParser(), None
        while header is None:
            data = accepted.recv(7)
            assert data, "the proxy closed before its header was complete"
            header = parser.feed(data)
        rest = parser.rest
        while len(rest) < 5:
            rest += accepted.recv(5 - len(rest))
        return header, rest


@pytest.mark.parametrize(
    "options",
    [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ],
)
def test_the_addresses_that_haproxy_names(options, captured, tmp_path):
    with Proxy(tmp_path, captured, options, "") as proxy, socket.create_connection(proxy.address, PATIENCE) as client:
        client.sendall(b"hello")
        header, rest = header_of(captured)
        assert rest == b"hello"
        assert (header.source, header.destination) == (client.getsockname(), proxy.address)
        assert (header.unique_id is not None) == ("unique-id" in options)


@pytest.mark.parametrize("options", ["send-proxy-v2-ssl-cn", f"send-proxy-v2 proxy-v2-options {EVERYTHING}"])
@pytest.mark.parametrize("with_certificate", [True, False])
def test_the_facts_of_tls_that_haproxy_passes_on(options, with_certificate, captured, tmp_path, certificates):
    tls = f"ssl crt {certificates}/localhost.pem ca-file {certificates}/client.crt verify optional"
    context = ssl.create_default_context(cafile=str(certificates / "localhost.crt"))
    if with_certificate:
        context.load_cert_chain(certificates / "client.pem")
    with (
        Proxy(tmp_path, captured, options, tls) as proxy,
        socket.create_connection(proxy.address, PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"hello")
        header, rest = header_of(captured)
        assert rest == b"hello"
        assert header.source == client.getsockname()
        assert header.ssl is not None
        assert header.ssl.version == client.version()
        assert header.ssl.common_name == ("client" if with_certificate else None)
        assert header.ssl.verified is with_certificate
        if "authority" in options:
            cipher = client.cipher()
            assert cipher is not None
            assert (header.authority, header.ssl.cipher) == ("localhost", cipher[0])
            assert header.ssl.key_alg == "RSA2048"


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c"])
def test_a_health_check_of_haproxy_names_no_client(options, captured, tmp_path):
    checking = f"{options} check inter 200ms check-send-proxy"
    with Proxy(tmp_path, captured, checking, ""):
        accepted, _ = captured.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            parser, header = ProxyParser(), None
            while header is None:
                header = parser.feed(accepted.recv(7))
            # Version 1 has the addresses of the check itself, as the specification recommends.
            assert header.local is (header.version == 2)
            assert parser.rest == b""
