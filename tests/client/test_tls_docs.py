"""The transcripts of docs/client.md about TLS, unix sockets and PROXY headers, replayed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest

from client.kit import PATIENCE, environment
from client.load.test_docs import masked
from client.test_docs import PAGE, transcripts, without_times
from client.tls_kit import Service
from echoclient.cli import COMMANDS
from echoclient.transport_options import OPTIONS

SECTION = PAGE.read_text().partition("\n## TLS, unix sockets and PROXY headers\n")[2].partition("\n## ")[0]
TRANSCRIPTS = transcripts(SECTION)


@pytest.fixture
def places(files, tmp_path):
    """Start the three servers of the section, and replace their ports and the path by those of this test."""
    directory = str(tmp_path)
    served = [line for line in SECTION.splitlines() if line.startswith("echoserver serve")]
    assert [re.findall(r"--listen '?([^ ']*)", line) for line in served] == [
        ["tls://127.0.0.1:9443", "unix:/run/echo.sock"],
        ["tls://127.0.0.1:9444"],
        ["tcp://127.0.0.1:9445?proxy=require"],
    ]
    with ExitStack() as stack:
        endpoints = ("tls://127.0.0.1:0", f"unix:{directory}/echo.sock")
        first = stack.enter_context(Service(files, *endpoints))
        second = stack.enter_context(Service(files, "tls://127.0.0.1:0", more=("--tls-client-ca", files.ca)))
        more = ("--proxy-trusted", "127.0.0.1", "--handler", "info")
        third = stack.enter_context(Service(files, "tcp://127.0.0.1:0?proxy=require", more=more))
        ports = {"9443": first.ports[0], "9444": second.ports[0], "9445": third.ports[0]}

        def substitute(text):
            text = re.sub(r"\b(9443|9444|9445)\b", lambda found: str(ports[found[1]]), text)
            return text.replace("unix:/run/", f"unix:{directory}/")

        yield substitute


@pytest.fixture
def path(tmp_path, places):
    """A PATH on which `echoclient` is that of this checkout, with the test's port as the default for TLS."""
    program = tmp_path / "bin" / "echoclient"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "from echoclient import target\n"
        f"target.DEFAULT_TLS_PORT = {places('9443')}\n"
        "from echoclient.cli import main\n"
        "main()\n"
    )
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


@pytest.mark.parametrize(("command", "shown"), TRANSCRIPTS)
def test_a_command_prints_what_the_page_says(command, shown, places, path, tmp_path):
    result = subprocess.run(
        [shutil.which("bash"), "-c", places(command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        env=environment(PATH=path),
        cwd=tmp_path,
        check=False,
    )
    mask = masked if " bench " in command else without_times
    assert mask(result.stdout.decode()) == mask(places(shown))


def test_the_section_shows_what_it_should():
    text = " ".join(command for command, _ in TRANSCRIPTS)
    for option in ("--tls-ca", "--tls-cert", "--tls-servername", "--proxy-header v2", "--proxy-source", "unix:"):
        assert option in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_section_has_every_option_of_every_command(name):
    from importlib import import_module

    module, _, attribute = COMMANDS[name][0].partition(":")
    options = {flag for parameter in getattr(import_module(module), attribute).params for flag in parameter.opts}
    shared = {flag for flag in options if flag.startswith(("--tls-", "--proxy-"))}
    assert len(shared) == (0 if name == "report" else len(OPTIONS))
    for option in shared:
        assert f"`{option}" in SECTION
