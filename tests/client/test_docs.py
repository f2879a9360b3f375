"""Every transcript of docs/client.md, replayed."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from client.kit import PATIENCE, Terminal, environment, upper

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
# The sections before that about TLS, whose transcripts need certificates: test_tls_docs.py has them.
OURS = PAGE.read_text().partition("\n## TLS, unix sockets and PROXY headers\n")[0]


def transcripts(text):
    """Return the commands after dollar signs, each with its output."""
    return [
        (command, shown)
        for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


TRANSCRIPTS = transcripts(OURS)
PROMPTS = [(command, shown) for command, shown in TRANSCRIPTS if "\n> " in shown]


def without_times(text):
    """Leave out what differs each time: times, and the numbers of figures."""
    text = re.sub(r"[0-9.]+(/[0-9.]+)* ms", "? ms", text)
    return re.sub(r'("(?:min|mean|p\d+|max)"): [0-9.]+', r"\1: ?", text)


@pytest.fixture
def ports(serve):
    """Replace the ports of the page by those of this test's servers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        numbers = {"9000": serve().port, "9001": serve(upper).port, "9999": unused.getsockname()[1]}

        def substitute(text):
            return re.sub(r"\b(9000|9001|9999)\b", lambda found: str(numbers[found[1]]), text)

        yield substitute


@pytest.fixture
def path(tmp_path, ports, monkeypatch):
    """A PATH on which `echoclient` is that of this checkout, with the test's port as its default."""
    program = tmp_path / "bin" / "echoclient"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from echoclient import target\n"
        f"target.Target.__init__.__defaults__ = ('127.0.0.1', {ports('9000')})\n"
        "from echoclient.cli import main\n"
        "main()\n"
    )
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


@pytest.mark.parametrize(("command", "shown"), [item for item in TRANSCRIPTS if item not in PROMPTS])
def test_a_command_prints_what_the_page_says(command, shown, ports, path):
    result = subprocess.run(
        [shutil.which("bash"), "-c", ports(command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        env=environment(PATH=path),
        check=False,
    )
    assert without_times(result.stdout.decode()) == without_times(ports(shown))


@pytest.fixture
def patient(serve, tmp_path):
    """Start `echoclient` in a terminal, with a prompt that waits for each reply, so that the two are shown together."""
    program = f"from echoclient import cli, repl; repl._SETTLE = {PATIENCE}; cli.main()"
    with ExitStack() as stack:

        def start(*arguments):
            command = [sys.executable, "-c", program, *arguments]
            return stack.enter_context(closing(Terminal(command, TERM="dumb", XDG_STATE_HOME=str(tmp_path))))

        yield start


def test_the_prompt_does_what_the_page_says(ports, patient):
    ((command, shown),) = PROMPTS
    screen = patient(*ports(command).split()[1:])
    greeting, *exchanges = ports(shown).split("\n> ")
    screen.expect(f"{greeting}\n> ")
    for exchange in exchanges:
        typed, _, reply = exchange.partition("\n")
        screen.type(f"{typed}\r")
        seen = screen.expect("\n> ") if not typed.startswith("/quit") else ""
        if seen:
            assert without_times(seen.replace("\r\n", "\n")) == without_times(f"{typed}\n{reply}".rstrip("\n"))
    assert screen.wait() == 0
    assert screen.screen.replace("\r\n", "\n").endswith(f"> /quit\n{reply}")


def test_the_page_has_a_section_for_every_command():
    from echoclient.cli import COMMANDS

    for name in COMMANDS:
        assert f"\n## {name}\n" in PAGE.read_text()


def test_the_shell_completion_of_the_page_works_in_bash(path):
    line = re.search(r"^eval .*ECHOCLIENT.*$", PAGE.read_text(), re.MULTILINE)[0]
    result = subprocess.run(
        [shutil.which("bash"), "-c", f"{line}\ncomplete -p echoclient"],
        capture_output=True,
        timeout=PATIENCE,
        env=environment(PATH=path),
        check=False,
    )
    assert result.stdout.decode().startswith("complete ")
    assert result.stdout.decode().endswith(" echoclient\n")
