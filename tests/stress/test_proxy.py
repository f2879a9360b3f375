"""A real HAProxy: its PROXY headers, in front of a socket that captures them, and 100 MB through it to the server."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoserver.net.proxy import ProxyParser
from echoserver.net.proxy_header import ProxyHeader
from stress.kit import stop

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
  server captured {host}:{port} {options}
"""
EVERYTHING = "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,crc32c,unique-id,authority"


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install haproxy openssl")
    return path


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    """A HAProxy in front of an address."""

    def __init__(self, folder: Path, to: tuple[str, int], options: str, tls: str) -> None:
        # It inherits the socket it listens on, since it can't be asked which port it got.
        self._front = socket.create_server(("127.0.0.1", 0))
        self.address = self._front.getsockname()
        front = self._front.fileno()
        file = folder / "haproxy.cfg"
        back = {"host": to[0], "port": to[1], "options": options}
        file.write_text(HAPROXY.format(patience=int(PATIENCE), front=front, tls=tls, **back))
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
    with (
        Proxy(tmp_path, captured.getsockname(), options, "") as proxy,
        socket.create_connection(proxy.address, PATIENCE) as client,
    ):
        client.sendall(b"hello")
        header, rest = header_of(captured)
        assert rest == b"hello"
        assert (header.source, header.destination) == (client.getsockname(), proxy.address)
        assert (header.unique_id is not None) == ("unique-id" in options)


@pytest.mark.parametrize("options", ["send-proxy-v2-ssl-cn", f"send-proxy-v2 proxy-v2-options {EVERYTHING}"])
@pytest.mark.parametrize("with_certificate", [True, False])
def test_the_facts_of_tls_that_haproxy_passes_on(options, with_certificate, captured, tmp_path, self_signed):
    tls = f"ssl crt {self_signed}/localhost.pem ca-file {self_signed}/client.crt verify optional"
    context = ssl.create_default_context(cafile=str(self_signed / "localhost.crt"))
    if with_certificate:
        context.load_cert_chain(self_signed / "client.pem")
    with (
        Proxy(tmp_path, captured.getsockname(), options, tls) as proxy,
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
    with Proxy(tmp_path, captured.getsockname(), checking, ""):
        accepted, _ = captured.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            parser, header = ProxyParser(), None
            while header is None:
                header = parser.feed(accepted.recv(7))
            # Version 1 has the addresses of the check itself, as the specification recommends.
            assert header.local is (header.version == 2)
            assert parser.rest == b""


BLOCK = hashlib.shake_256(b"bulk").digest(1_000_003)
BLOCKS = 100
BEHIND = "ssl verify required verifyhost localhost ca-file {certificates.authority}"
"""HAProxy speaks TLS to the server."""
IN_FRONT = "ssl crt {certificates.both} ca-file {certificates.authority} verify optional"
"""HAProxy speaks TLS to its clients."""


def exchange(client: socket.socket) -> str:
    """Send each block, read it back, and return the digest of what came."""
    received = hashlib.sha256()
    with memoryview(BLOCK) as block:
        for _ in range(BLOCKS):
            for at in range(0, len(block), 65_536):
                left = len(block[at : at + 65_536])
                client.sendall(block[at : at + 65_536])
                while left:
                    data = client.recv(left)
                    assert data, "the stream ended"
                    received.update(data)
                    left -= len(data)
    return received.hexdigest()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("header", "in_front", "behind"),
    [
        ("send-proxy", "", ""),
        ("send-proxy", "", BEHIND),
        ("send-proxy-v2", "", BEHIND),
        ("send-proxy-v2-ssl-cn", IN_FRONT, ""),
        ("send-proxy-v2-ssl-cn", IN_FRONT, BEHIND),
    ],
    ids=["v1", "v1, TLS behind", "v2, TLS behind", "v2 with TLVs, TLS in front", "v2 with TLVs, TLS on both sides"],
)
def test_a_hundred_megabytes_through_haproxy(secure, certificates, tmp_path, header, in_front, behind):
    tool("haproxy")
    server = secure(proxy=True)
    to = server.secure if behind else server.plain
    options, tls = (text.format(certificates=certificates) for text in (f"{header} {behind}", in_front))
    context = certificates.trusting()
    context.load_cert_chain(certificates.both)  # `send-proxy-v2-ssl-cn` passes its name on
    with (
        Proxy(tmp_path, to, options, tls) as proxy,
        socket.create_connection(proxy.address, PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") if in_front else plain as client,
    ):
        name = "{}:{}".format(*client.getsockname())
        assert exchange(client) == hashlib.sha256(BLOCK * BLOCKS).hexdigest()
    line = server.wait_for("connection ended")
    assert (line["peer"], line["bytes_in"], line["bytes_out"]) == (name, len(BLOCK) * BLOCKS, len(BLOCK) * BLOCKS)
    assert line["proxy"].startswith("127.0.0.1:")
    assert line.get("tls") == ("TLSv1.3" if behind else None)
    stop(server)


@pytest.mark.parametrize("behind", ["", BEHIND], ids=["plain behind", "TLS behind"])
def test_a_half_close_goes_through_haproxy(secure, certificates, tmp_path, behind):
    """Only between HAProxy and a client without TLS is there one; it comes out as the end of the stream behind it."""
    tool("haproxy")
    server = secure(proxy=True)
    options = f"send-proxy-v2 {behind}".format(certificates=certificates)
    with (
        Proxy(tmp_path, server.secure if behind else server.plain, options, "") as proxy,
        socket.create_connection(proxy.address, PATIENCE) as client,
    ):
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        got = b""
        while data := client.recv(100):
            got += data
    assert got == b"hello"
    assert server.wait_for("connection ended")["bytes_out"] == 5
    stop(server)
