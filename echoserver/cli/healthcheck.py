"""The command `echoserver healthcheck`, which container engines run every few seconds: it loads little."""

from __future__ import annotations

import os

import click

from echoserver.clock import Deadline, parse_duration
from echoserver.config import load_config
from echoserver.errors import ConfigError, EchoServerError
from echoserver.process.healthcheck import exchange


@click.command("healthcheck", epilog="Example: ECHOSERVER_PORT=9001 echoserver healthcheck")
@click.option("--timeout", metavar="DURATION", default="3s", help="How long it may take.  [default: 3s]")
@click.option("--config", "config_file", metavar="FILE", help="The file that the server was given.")
def command(timeout: str, config_file: str | None) -> None:
    """Exchange a line with the server that runs here: exit 0 if it answers, else 1 with the reason on one line.

    The handler and the first of the endpoints are read as `serve` reads them, from the environment and the file.
    """
    try:
        seconds = parse_duration(timeout)
    except ValueError:
        raise ConfigError(
            f"{timeout!r} is refused: must be a duration such as 500ms or 3s", origin="--timeout"
        ) from None
    loaded = load_config({} if config_file is None else {"config": config_file}, os.environ).config
    client_ca = bool(loaded.tls_client_ca)
    problem = exchange(loaded.endpoints[0], loaded.handler, Deadline(seconds), client_ca=client_ca)
    if problem:
        raise EchoServerError(problem)
