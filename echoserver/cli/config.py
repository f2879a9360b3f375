"""The command `echoserver config`."""

from __future__ import annotations

import click
import tomli_w

from echoserver.cli.options import Given, config_options, load
from echoserver.config import options
from echoserver.errors import ConfigError
from echoserver.handlers import find_handler


@click.command("config", epilog="Example: ECHOSERVER_PORT=9001 echoserver config --handler upper")
@config_options
def command(**given: Given) -> None:
    """Print the configuration that `serve` would use with the same flags, as TOML, each value with its origin."""
    loaded = load(given)
    try:
        find_handler(loaded.config.handler, loaded.config.handler_options)
    except ConfigError as error:
        raise loaded.locate(error) from None
    plan = loaded.config.fault_plan() if loaded.config.fault_file else None
    table = ""
    for name, option in options():
        value = option.kind.show(getattr(loaded.config, name))
        origin = f"  # {loaded.origins[name]}"
        if isinstance(value, dict):
            # A table has to come after the plain values.
            table = f"\n[{name}]{origin}\n{tomli_w.dumps(value)}"
        else:
            click.echo(tomli_w.dumps({name: value}).rstrip("\n") + origin)
        if name == "fault_file" and plan is not None:
            for rule in plan.rules[: len(plan.rules) - len(loaded.config.fault)]:
                click.echo(f"#   {rule}")
    click.echo(table, nl=False)
