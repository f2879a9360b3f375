"""The command `echoserver handlers`."""

from __future__ import annotations

import click

from echoserver.errors import ConfigError, printable
from echoserver.handlers.finding import available_handlers
from echoserver.handlers.options import describe_options


@click.command("handlers", epilog="Example: echoserver handlers")
def command() -> None:
    """List the handlers that can be served, with the options of each."""
    for name, target in available_handlers():
        shown = click.style(printable(name), bold=True)
        if isinstance(target, ConfigError):
            click.echo(f"{shown}  " + click.style(f"can't be used: {printable(target.problem)}", fg="red"))
            continue
        summary = (target.__doc__ or "").strip().partition("\n")[0]
        click.echo(f"{shown}  {printable(summary)}")
        for option in describe_options(target):
            default = "required" if option.required else f"default: {option.shown_default}"
            text = f"{option.name}={option.metavar}  {option.help}  [{default}]"
            click.echo(f"    --handler-option {printable(text)}")
