"""The TLS transport against OpenSSL's own client: renegotiation, key updates, and 100 MB."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from echoserver.net.tls import TlsTransport
from echoserver.net.tls_context import make_context

pytestmark = pytest.mark.stress

PATIENCE = 50.0


def openssl() -> str:
    path = shutil.which("openssl")
    if path is None:
        pytest.skip("needs openssl: apt-get install openssl")
    return path


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    new = [openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*new, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return make_context(certificate, key)


@contextmanager
def echoing(context: ssl.SSLContext) -> Iterator[tuple[int, Future[int]]]:
    """Serve one connection in a thread; yield the port and how many bytes were sent back, or what ended it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(PATIENCE)
        yield listener.getsockname()[1], pool.submit(echo, listener, context)


def echo(listener: socket.socket, context: ssl.SSLContext) -> int:
    accepted, _ = listener.accept()
    accepted.settimeout(PATIENCE)
    transport, count = TlsTransport(accepted, context), 0
    try:
        transport.handshake()
        while data := transport.recv(65_536):
            count += len(data)
            while data:
                data = data[transport.send(data) :]
        if transport.truncated:
            raise ConnectionAbortedError("the stream ended without close_notify")
        return count
    finally:
        transport.close()


def client(port: int, *options: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [openssl(), "s_client", "-connect", f"127.0.0.1:{port}", *options]
    return subprocess.run(command, input=text, capture_output=True, timeout=PATIENCE)


def test_a_client_may_not_renegotiate(context):
    with echoing(context) as (port, ended):
        result = client(port, "-tls1_2", text=b"R\nafter\n")
        assert b"RENEGOTIATING" in result.stdout + result.stderr
        assert b"no renegotiation" in result.stderr
        assert result.returncode != 0
        assert ended.exception() is None or isinstance(ended.exception(), OSError)


def test_key_updates_are_answered(context):
    with echoing(context) as (port, ended):
        command = [openssl(), "s_client", "-tls1_3", "-connect", f"127.0.0.1:{port}"]
        with subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            # K asks for one in return, k does not. It takes a letter for a command only where a read begins with it.
            for line, answer in [(b"one\n", b"one\n"), *[(b"K\n", b"KEYUPDATE\n"), (b"k\n", b"KEYUPDATE\n")] * 3]:
                process.stdin.write(line)
                read_up_to(process.stdout, answer)
            process.stdin.write(b"two\n")
            read_up_to(process.stdout, b"two\n")
            process.stdin.close()
        assert ended.result() == len(b"one\ntwo\n")


def read_up_to(stream: IO[bytes], text: bytes) -> None:
    line = b""
    while line != text:
        line = stream.readline()
        assert line, f"the client ended before it printed {text!r}"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_hundred_megabytes_come_back(context, version, tmp_path: Path):
    text = hashlib.shake_256(b"bulk").digest(1_000_003)
    with echoing(context) as (port, ended), (tmp_path / "sent").open("wb+") as file:
        for _ in range(100):
            file.write(text)
        file.seek(0)
        expected, received = hashlib.sha256(text * 100), hashlib.sha256()
        command = [openssl(), "s_client", "-quiet", "-ign_eof", version, "-connect", f"127.0.0.1:{port}"]
        with subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            left = len(text) * 100
            while left and (data := process.stdout.read1(65_536)):
                received.update(data)
                left -= len(data)
            process.kill()
        assert left == 0
        assert received.digest() == expected.digest()
        # Killed, it ends the stream without close_notify, or resets the connection.
        assert isinstance(ended.exception(), OSError)
