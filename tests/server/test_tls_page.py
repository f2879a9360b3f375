"""The transcripts of the section on TLS are real: what they show is replayed."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from pathlib import Path

import pytest

from server.kit import PATIENCE
from server.tls_kit import AUTHORITY, SERVER_CERTIFICATE, client_context
from support import ROOT, Program

PAGE = (ROOT / "docs" / "operation.md").read_text()
SECTION = next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith("TLS\n"))
BLOCKS = re.findall(r"^```console\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)


def steps(block: str) -> list[tuple[list[str], str]]:
    """Return the words of each command with what is printed after it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(shlex.split(command), shown) for command, _, shown in (part.partition("\n") for part in parts)]


@pytest.fixture
def folder(tmp_path) -> Path:
    for prefix, made in (("", SERVER_CERTIFICATE), ("new-", AUTHORITY.issue_cert("localhost"))):
        (tmp_path / f"{prefix}cert.pem").write_bytes(made.cert_chain_pems[0].bytes())
        (tmp_path / f"{prefix}key.pem").write_bytes(made.private_key_pem.bytes())
    return tmp_path


def timeless(line: str) -> str:
    return re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "", line)


def test_the_transcripts_of_tls_are_real(folder):
    serving, replacing = BLOCKS
    (serve, _), (talk, heard) = steps(serving)
    listening = [word.replace(":9443", ":0") for word in serve[1:]]
    with Program(*listening, "--log-format", "console", cwd=folder, NO_COLOR="1") as program:
        port = int(re.search(r" port=(\d+) ", program.wait_for_line("listening"))[1])
        assert talk[:4] == ["printf", "hello", "|", "ncat"]
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as sock,
            client_context().wrap_socket(sock, server_hostname="localhost") as peer,
        ):
            peer.sendall(talk[1].encode())
            assert peer.recv(100).decode() + "\n" == heard
        for (command, source, target), shown in steps(replacing):
            assert command == "cp"
            shutil.copyfile(folder / source, folder / target)
            assert timeless(program.wait_for_line("certificates")) == timeless(shown.removesuffix("\n"))
