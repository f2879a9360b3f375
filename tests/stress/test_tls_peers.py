"""Other people's TLS clients against the server: 100 MB there and back through each, in both modes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stress.kit import stop
from stress.tls_kit import needed
from support import environment

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

BLOCK = hashlib.shake_256(b"bulk").digest(1_000_003)
BLOCKS = 100
SIZE = len(BLOCK) * BLOCKS


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bulk") / "sent"
    with file.open("wb") as out:
        for _ in range(BLOCKS):
            out.write(BLOCK)
    return file


@contextmanager
def client(bulk: Path, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start a client that sends the file, and kill it where it is still there at the end."""
    arguments = list(map(str, command))
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with (
        bulk.open("rb") as source,
        subprocess.Popen(arguments, stdin=source, env=environment(), **output) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def digest_of(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Read as much as was sent; return how much that was, and its digest."""
    assert process.stdout is not None
    received, left = hashlib.sha256(), SIZE
    while left and (data := process.stdout.read1(min(left, 1_000_000))):
        received.update(data)
        left -= len(data)
    return SIZE - left, received.hexdigest()


EXPECTED = (SIZE, hashlib.sha256(BLOCK * BLOCKS).hexdigest())


def ends_in_order(process: subprocess.Popen[bytes], server) -> bool:
    """Return whether nothing follows the replies, and both sides are content with how the stream ended."""
    assert process.stdout is not None
    assert process.stdout.read() == b""
    assert process.wait() == 0
    line = server.wait_for("connection ended")
    return (line["bytes_in"], line["bytes_out"], line["reason"]) == (SIZE, SIZE, "eof")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(secure, certificates, bulk, version):
    """It ends with its input, before the replies have come, unless it is told to stay; so it is killed."""
    openssl, server = needed("openssl"), secure()
    verify = ["-CAfile", certificates.authority, "-verify_return_error", "-verify_hostname", "localhost"]
    to = ["-connect", "{}:{}".format(*server.secure), "-servername", "localhost"]
    with client(bulk, openssl, "s_client", "-quiet", version, *verify, *to) as process:
        assert digest_of(process) == EXPECTED
    line = server.wait_for("connection ended")
    assert line["tls"] == {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[version]
    assert (line["bytes_in"], line["bytes_out"]) == (SIZE, SIZE)
    assert line["reason"] in ("truncated", "reset")
    stop(server)


def test_socat(secure, certificates, bulk):
    """It half-closes as it should, and gets close_notify in return."""
    socat, server = needed("socat"), secure()
    to = f"OPENSSL:localhost:{server.secure[1]},cafile={certificates.authority},verify=1"
    with client(bulk, socat, "-t", "60", "-", to) as process:
        assert digest_of(process) == EXPECTED
        assert ends_in_order(process, server)
    stop(server)


def test_echoclient(secure, certificates, bulk):
    ours = [sys.executable, "-m", "echoclient", "connect"]
    help_text = subprocess.run([*ours, "--help"], capture_output=True, text=True, check=True, env=environment()).stdout
    if "--tls-ca" not in help_text:
        pytest.skip("needs an echoclient that speaks TLS")
    server = secure()
    with client(bulk, *ours, "--tls-ca", certificates.authority, f"tls://localhost:{server.secure[1]}") as process:
        assert digest_of(process) == EXPECTED
        assert ends_in_order(process, server)
    stop(server)


def test_ncat(secure, certificates, bulk):
    """It does not half-close a connection with TLS, and waits; so it is killed."""
    ncat, server = needed("ncat"), secure()
    trust = ["--ssl", "--ssl-verify", "--ssl-trustfile", certificates.authority, "--ssl-servername", "localhost"]
    with client(bulk, ncat, *trust, "localhost", server.secure[1]) as process:
        assert digest_of(process) == EXPECTED
    line = server.wait_for("connection ended")
    assert (line["bytes_in"], line["bytes_out"]) == (SIZE, SIZE)
    assert line["reason"] in ("truncated", "reset", "eof")
    stop(server)
