"""The command line: help, bad usage, lazy imports, and errors that must not reach the user as a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from client.kit import PATIENCE, command, environment, run
from echoclient import __version__
from echoclient.cli import COMMANDS

COMMON = ["connect", "send", "ping", "wait"]


def test_the_help_lists_every_command():
    result = run("--help")
    assert result.returncode == 0
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in result.stdout.decode()
        assert line in " ".join(result.stdout.decode().split())


@pytest.mark.parametrize("name", COMMON)
def test_the_help_of_a_command_shows_an_example_and_the_common_options(name):
    text = run(name, "--help").stdout.decode()
    assert "Examples:\n    echoclient " + name in text
    for option in ("--timeout DURATION", "--wait DURATION"):
        assert option in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["conect"], "No such command 'conect'"),
        (["connect", "localhost:0"], "'0' is not a port"),
        (["connect", "--timeout", "5"], "'5' has no unit"),
        (["connect", "--wait", "soon"], "'soon' is not a duration"),
        (["connect", "9000", "9001"], "unexpected extra argument"),
        (["ping", "-c", "0"], "-c"),
        (["ping", "-i", "often"], "'often' is not a duration"),
        (["ping", "-s", "0"], "-s"),
        (["send", "--expect", "shout"], "'shout' is not an expectation"),
        (["send", "--file", "/nowhere/at/all"], "No such file"),
        (["send", "--target", "nota:port"], "'port' is not a port"),
    ],
)
def test_bad_usage_exits_2_and_says_what_is_wrong(arguments, says):
    result = run(*arguments)
    assert result.returncode == 2
    assert says in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


def test_the_version_needs_no_installed_package():
    program = (
        "import sys\n"
        "sys.modules['importlib.metadata'] = None  # importing it fails now: what is installed is not looked up\n"
        "from echoclient.cli import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert (result.stdout, result.stderr) == (f"echoclient, version {__version__}\n", "")


def imported_by(*arguments, stdin=b""):
    """Return the modules that a command line has imported when it ends."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['echoclient', *{[str(argument) for argument in arguments]!r}]\n"
        "from echoclient.cli import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert result.returncode == 0
    return set(result.stderr.decode().split())


def test_a_command_imports_what_it_uses_and_no_more(serve):
    heavy = {
        "prompt_toolkit",
        "hdrh",
        "readline",
        "ssl",
        "echoclient.repl",
        "echoclient.load",
        "echoclient.tls_session",
    }
    assert not imported_by("--help") & {*heavy, "echoclient.session"}
    assert not imported_by("connect", serve().port, stdin=b"hello") & {*heavy, "echoclient.ping"}
    assert not imported_by("ping", serve().port, "-c", 1) & heavy


def test_a_full_disk_behind_standard_output(serve):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command("send", "-t", serve().port, "hello"),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            env=environment(),
            check=False,
        )
    assert (result.returncode, result.stderr) == (1, b"echoclient: OTHER no space left on device\n")


@pytest.mark.parametrize(
    ("words", "index", "completed"),
    [
        ("echoclient p", 1, b"plain,ping\n"),
        ("echoclient ping --js", 2, b"plain,--json\n"),
        ("echoclient wait --tls-s", 2, b"plain,--tls-servername\n"),
        ("echoclient bench --proxy-header v", 3, b"plain,v1\nplain,v2\n"),
    ],
)
def test_shell_completion(words, index, completed):
    result = run(_ECHOCLIENT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(index))
    assert result.stdout == completed
