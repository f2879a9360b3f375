"""The command line: its subcommands, help and version."""

from __future__ import annotations

import re
import signal
import socket
import tomllib
from pathlib import Path

import pytest

from echoserver import __version__
from echoserver.config import default_of, flag_of, options
from server.command_kit import error_of
from support import ROOT, Service, run

OPTIONS = dict(options())


# -- config


def test_config_prints_what_serve_reads_back(tmp_path):
    first = run("config", "--handler", "upper", "--handler-option", "encoding=utf-8", ECHOSERVER_PORT="1234")
    assert first.returncode == 0
    assert first.stderr == ""
    assert 'handler = "upper"  # --handler\n' in first.stdout
    assert "port = 1234  # ECHOSERVER_PORT\n" in first.stdout
    assert 'host = "127.0.0.1"  # default\n' in first.stdout
    assert first.stdout.endswith('\n[handler_options]  # --handler-option\nencoding = "utf-8"\n')
    path = tmp_path / "effective.toml"
    path.write_text(first.stdout)
    again = run("config", "--config", path)
    assert tomllib.loads(again.stdout) == tomllib.loads(first.stdout)
    assert set(tomllib.loads(first.stdout)) == set(OPTIONS)
    assert again.stdout.count(f"# {path}") == len(OPTIONS)


def test_config_reads_the_file_that_the_environment_names():
    finished = run("config", cwd=ROOT, ECHOSERVER_CONFIG="config/docker.toml")
    assert 'host = "0.0.0.0"  # config/docker.toml\n' in finished.stdout


# -- handlers


def test_handlers_lists_them_with_a_line_and_their_options():
    finished = run("handlers")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "\x1b" not in finished.stdout
    assert re.search(r"^echo  Send every byte back as it came \(RFC 862\)\.$", finished.stdout, re.MULTILINE)
    assert re.search(r"^    --handler-option encoding=TEXT  .*  \[default: ascii\]$", finished.stdout, re.MULTILINE)


# -- healthcheck


@pytest.mark.parametrize(
    "options",
    [["--handler", "echo"], ["--handler", "upper"], ["--handler", "upper", "--handler-option", "encoding=utf-8"]],
)
def test_healthcheck_is_0_with_every_built_in_handler(options):
    with Service(*options) as service:
        host, port = service.address
        finished = run("healthcheck", ECHOSERVER_HOST=host, ECHOSERVER_PORT=str(port), ECHOSERVER_HANDLER=options[1])
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_healthcheck_reads_the_file_of_the_server(tmp_path):
    path = tmp_path / "echoserver.toml"
    with Service("--host", "0.0.0.0") as service:
        path.write_text(f'host = "0.0.0.0"\nport = {service.address[1]}\n')
        assert run("healthcheck", "--config", path).returncode == 0
        assert run("healthcheck", ECHOSERVER_CONFIG=str(path)).returncode == 0
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ([], {"ECHOSERVER_PORT": "0"}),
        ([], {"ECHOSERVER_PROT": "1"}),
        ([], {"ECHOSERVER_CONFIG": "/nowhere"}),
        (["--config", ""], {}),
        (["--timeout", "soon"], {}),
        (["--no-such-option"], {}),
    ],
)
def test_healthcheck_is_1_whatever_is_wrong(arguments, variables):
    finished = run("healthcheck", *arguments, **variables)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr
    assert "Traceback" not in finished.stderr


def test_healthcheck_is_1_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    finished = run("healthcheck", ECHOSERVER_PORT=str(port))
    assert finished.returncode == 1
    assert error_of(finished) == f"echoserver: no exchange with 127.0.0.1 port {port}: Connection refused"


def test_healthcheck_is_1_where_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        finished = run("healthcheck", "--timeout", "50ms", ECHOSERVER_PORT=str(port))
    assert finished.returncode == 1
    assert error_of(finished) == f"echoserver: no answer from 127.0.0.1 port {port} in time"


# -- help and version


@pytest.mark.parametrize("subcommand", [[], ["serve"], ["config"], ["handlers"], ["healthcheck"]])
def test_help_is_exit_0_with_an_example(subcommand):
    finished = run(*subcommand, "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "Example: " in finished.stdout


def test_help_has_every_option_with_its_default():
    shown = " ".join(run("serve", "--help").stdout.split())
    for name, option in OPTIONS.items():
        assert f"{flag_of(name)} {option.kind.metavar} " in shown
        assert option.help in shown
        default = option.kind.show(default_of(name))
        assert default in ({}, []) or f"[default: {default}]" in shown


def test_version():
    # Of the package that runs, installed or not.
    finished = run("--version")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"echoserver {__version__}\n", "")


def test_the_summaries_in_the_help_are_the_commands():
    names = re.findall(r"^  ([a-z]+) {2,}\S", run("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert names == sorted(path.stem for path in (ROOT / "echoserver" / "cli").glob("*.py") if is_command(path))


def is_command(path: Path) -> bool:
    return "\ndef command(" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "loads", "leaves_out"),
    [
        (["--version"], {"click"}, {"structlog", "tomllib", "echoserver.config", "echoserver.handlers"}),
        (["--help"], {"click"}, {"structlog", "tomllib", "echoserver.config", "echoserver.handlers"}),
        (["healthcheck"], {"echoserver.process.healthcheck"}, {"structlog", "tomli_w", "echoserver.server"}),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments, loads, leaves_out):
    finished = run(*arguments, PYTHONPROFILEIMPORTTIME="1", ECHOSERVER_PORT="0")
    loaded = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
    assert loads <= loaded
    assert not leaves_out & loaded


@pytest.mark.parametrize(
    "arguments",
    [["serve", "--handler", "a\x1b[2Jb"], ["serve", "--\x1b[2J"], ["\x1b[2J"], ["config", "--config", "\x1b[2J"]],
)
def test_what_is_shown_of_the_arguments_is_printable(arguments):
    finished = run(*arguments)
    assert finished.returncode == 2
    assert finished.stderr.replace("\n", "").isprintable()
