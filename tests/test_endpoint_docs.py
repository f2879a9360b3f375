"""The transcripts of the sections on endpoints are real: what they show is replayed."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from echoserver.config import load_config
from echoserver.net.endpoint import parse_endpoint
from support import PATIENCE, ROOT, Program, activated

PAGE = (ROOT / "docs" / "operation.md").read_text()
JSON = ("--log-format", "json")


def section(heading: str) -> str:
    (found,) = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(heading + "\n")]
    return found


def steps(heading: str) -> list[tuple[str, str]]:
    """Return each command of the transcript in a section, with what it prints."""
    (block,) = re.findall(r"^```console\n(.*?)^```$", section(heading), flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def exchange(command: str, peer: socket.socket) -> str:
    """Do what `printf TEXT | ncat ...` does."""
    said, pipe, to = shlex.split(command)[1:4]
    assert (pipe, to) == ("|", "ncat")
    peer.settimeout(PATIENCE)
    peer.sendall(said.replace(r"\r\n", "\r\n").encode())
    peer.shutdown(socket.SHUT_WR)
    received = b""
    while data := peer.recv(1000):
        received += data
    return received.decode() + "\n"


def stop(program: Program) -> None:
    program.send_signal(signal.SIGTERM)
    assert program.finish() == 0


def test_the_transcript_of_unix_sockets_is_real(tmp_path):
    path = str(tmp_path / "echo.sock")
    (serve, _), (look, seen), (talk, heard) = [
        (command.replace("/run/echo.sock", path), shown) for command, shown in steps("Unix sockets")
    ]
    with Program(*shlex.split(serve)[1:], *JSON) as program:
        program.wait_for("listening")
        looked = subprocess.run(shlex.split(look), capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert looked.stdout == seen
        assert talk.endswith(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(path)
            assert exchange(talk, peer) == heard
        stop(program)
    assert not Path(path).exists()


def test_the_transcript_of_socket_activation_is_real():
    (activate, _), (talk, heard) = steps("Socket activation")
    words = shlex.split(activate)
    assert words[0] == "systemd-socket-activate"
    name = words[words.index("--fdname") + 1]
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        activated([sock], name, *words[words.index("echoserver") + 1 :], *JSON) as program,
    ):
        program.wait_for("listening")
        with socket.create_connection(sock.getsockname(), PATIENCE) as peer:
            assert exchange(talk, peer) == heard
        stop(program)


def test_the_transcript_of_a_proxy_is_real():
    (serve, _), (talk, heard) = steps("Behind a proxy")
    with Program(*shlex.split(serve.replace(":9000", ":0"))[1:], *JSON) as program:
        port = program.wait_for("listening")["port"]
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as peer:
            assert exchange(talk, peer) == heard
        stop(program)


def test_the_units_agree_on_the_name():
    named = re.search(r"^FileDescriptorName=(\w+)$", section("Socket activation"), re.MULTILINE)
    assert named is not None
    assert f"--listen systemd:{named[1]}\n" in section("Socket activation")


def test_every_endpoint_in_the_table_can_be_written_so():
    table = [line.split("|")[1] for line in section("Where to listen").splitlines() if line.startswith("| `")]
    texts = [text for cell in table for text in re.findall(r"`([^`]+)`", cell)]
    assert len(texts) > len(table)
    for text in texts:
        assert str(parse_endpoint(text)) == text


@pytest.mark.parametrize("page", ["README.md", "docs/operation.md"])
def test_every_command_that_listens_is_accepted(page):
    commands = re.findall(r"^ *(?:\$ )?(echoserver serve .*--listen .*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)
        flags = list(zip(words[2::2], words[3::2], strict=True))
        given = {name: [value for flag, value in flags if flag == f"--{name}"] for name in ("listen", "proxy-trusted")}
        single = {name: value for flag, value in flags if (name := flag[2:].replace("-", "_")).startswith("tls_")}
        many = {name.replace("-", "_"): values for name, values in given.items() if values}
        assert len(load_config({**many, **single}, {}).config.listen) == len(given["listen"])
