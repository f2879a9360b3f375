"""The examples of the built-in handlers on docs/handlers.md, replayed."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess

import pytest

from echoserver.handlers import Peer
from echoserver.handlers.info import describe
from server.handler_kit import BUILT_IN_NAMES, PEER
from support import PATIENCE, ROOT, Service

PAGE, _, GUIDE = (ROOT / "docs" / "handlers.md").read_text().partition("\n## Writing a handler\n")
ROWS = {
    row[0]: row
    for line in PAGE.splitlines()
    if line.startswith("| `") and len(row := [cell.strip().strip("`") for cell in line.strip("|").split("|")]) == 5
}
SESSIONS = re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def unescaped(text: str) -> bytes:
    r"""Return the bytes that `printf` makes of a text with `\n`, `\r` and octal escapes."""
    return text.encode().decode("unicode_escape").encode("latin-1")


def received(flags: list[str], sent: bytes, count: int | None) -> bytes:
    """Return what a server sends to a peer that sends this and half-closes: `count` bytes, or all of it."""
    got = b""
    with Service(*flags) as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            while (count is None or len(got) < count) and (data := peer.recv(count or 65536)):
                got += data
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
    return got


def test_every_built_in_handler_has_its_row():
    assert sorted(ROWS) == BUILT_IN_NAMES.split(", ")


def names_in_table(page: str, first_header: str) -> list[str]:
    """Return what stands in backquotes in the first column of the table with this header."""
    table = page.partition(f"\n| {first_header} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)


def test_the_table_of_keys_is_that_of_info():
    assert names_in_table(PAGE, "Key") == list(describe(PEER))


def test_the_table_of_facts_has_all_that_a_peer_says():
    facts = {name for name, value in vars(Peer).items() if isinstance(value, property)} - {"address"}
    assert sorted(names_in_table(GUIDE, "`self.peer`")) == sorted(facts)


@pytest.mark.parametrize("name", ROWS)
def test_the_example_in_the_table_is_real(name):
    _, _, _, sent, shown = ROWS[name]
    start, more, _ = shown.partition("...")
    got = received(["--handler", name], unescaped(sent), len(start) if more else None)
    if name == "daytime":
        got, start = (re.sub(r"[A-Z]\w+", "Word", re.sub(r"\d+", "1", text)) for text in (got.decode(), shown))
        assert got == start.replace(r"\r\n", "\r\n")
    else:
        assert got == (start.encode() if more else unescaped(start))


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.split()[4])
def test_the_session_is_real(session):
    serve, talk, *shown = session.rstrip("\n").split("\n")
    command = re.fullmatch(r"\$ printf '(.*)' \| ncat 127\.0\.0\.1 9000(?: \| (.*))?", talk)
    assert command is not None
    got = received(serve.removeprefix("$ echoserver serve ").split(), unescaped(command[1]), None)
    if command[2] == "python3 -m json.tool":
        real, example = json.loads(got), json.loads("\n".join(shown))
        for key in ("peer", "local", "endpoint"):  # the ports differ
            real[key], example[key] = (re.sub(r"\d+$", "", text[key]) for text in (real, example))
        assert list(real.items()) == list(example.items())
        return
    if command[2] is not None:
        got = subprocess.run(command[2].split(), input=got, capture_output=True, check=True).stdout
    assert got.decode().replace("\r\n", "\n") == "\n".join(shown) + "\n"
