"""The command `echoserver`: finds the subcommand, prints errors and exits."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import StringIO

import click

from echoserver import __version__
from echoserver.errors import EchoServerError, printable

_SUMMARIES = {
    "config": "Print the effective configuration as TOML.",
    "ctl": "Observe and control a running server.",
    "faults": "List the kinds of fault, or explain rules and tickets.",
    "handlers": "List the handlers and their options.",
    "healthcheck": "Exit 0 if the server answers, else 1.",
    "serve": "Serve until SIGTERM or SIGINT.",
}


def main() -> None:
    """Run the command line and exit with its code: 0, 1 if it can't serve, 2 for bad usage or configuration."""
    try:
        colour = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
        code = _commands.main(prog_name="echoserver", standalone_mode=False, color=colour)
    except click.ClickException as error:
        shown = StringIO()
        error.show(shown)
        for line in shown.getvalue().rstrip("\n").split("\n"):
            click.echo(printable(line), err=True)
        code = error.exit_code
    except EchoServerError as error:
        click.echo(f"echoserver: {printable(str(error))}", err=True)
        code = error.exit_code
    except OSError as error:  # such as a full disk under the standard output
        click.echo(f"echoserver: {printable(error.strerror or str(error))}", err=True)
        code = 1
    except MemoryError:
        click.echo("echoserver: no memory; allow more (ulimit -v)", err=True)
        code = 1
    if sys.argv[1:2] == ["healthcheck"]:
        code = min(code or 0, 1)  # a container engine knows 0 and 1, and reserves 2
    sys.exit(code)


class _LazyGroup(click.Group):
    """Loads the module of the command that is run, and no other: each `echoserver.cli.NAME` has a `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in _SUMMARIES:
            return None
        command: click.Command = import_module(f"echoserver.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


@click.group(
    name="echoserver",
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def _commands() -> None:
    """Serve TCP connections: a handler gets the bytes of each one, and what it returns is sent back.

    Example: echoserver serve --port 9000
    """
