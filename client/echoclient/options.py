"""The options that the commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from echoclient.durations import parse_duration
from echoclient.target import Target, parse_target

# Any function that click can make a command of.
F = TypeVar("F", bound=Callable[..., object])
_TARGET_FORMS = "port, host, host:port, [v6]:port, tls://host:port or unix:/path"


def target_value(text: str) -> Target:
    """Read a TARGET for click, which reports bad usage with exit status 2."""
    try:
        return parse_target(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def duration_value(text: str, *, bare_seconds: bool = False) -> float:
    """Read a DURATION for click, in seconds; see `echoclient.durations.parse_duration`."""
    try:
        return parse_duration(text, bare_seconds=bare_seconds)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def target_argument(command: F) -> F:
    """Give a command the positional argument ``TARGET``, passed as ``target: Target``."""
    return click.argument("target", type=target_value, default=str(Target()), metavar="[TARGET]")(command)


def target_option(command: F) -> F:
    """Give a command that has other arguments the option ``--target``, passed as ``target: Target``."""
    return click.option(
        "-t",
        "--target",
        type=target_value,
        default=str(Target()),
        show_default=True,
        metavar="TARGET",
        help=f"Where the server is: {_TARGET_FORMS}.",
    )(command)


def time_options(
    *, wait: str = "0", wait_help: str = "How long to keep trying until the server is up; 0: try once."
) -> Callable[[F], F]:
    """Give a command ``--timeout`` and ``--wait``, passed in seconds as ``timeout: float`` and ``wait: float``.

    0 turns either off: no limit, or no second try.

    Args:
        wait: the default of ``--wait``.
        wait_help: the help of ``--wait``.
    """

    def decorate(command: F) -> F:
        command = click.option(
            "--wait", type=duration_value, default=wait, show_default=True, metavar="DURATION", help=wait_help
        )(command)
        return click.option(
            "--timeout",
            type=duration_value,
            default="5s",
            show_default=True,
            metavar="DURATION",
            help="How long connecting and each reply may take: 500ms, 30s, 5m; 0: no limit.",
        )(command)

    return decorate


def examples(*lines: str) -> str:
    """Return the end of a command's help, with these command lines as examples."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def say(line: str) -> None:
    """Print a message that is not a result: on standard error, after the name of the program."""
    click.echo(f"echoclient: {line}", err=True)
