"""The command line: finds the command, and is the only place that turns errors into lines and exit statuses."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from echoclient import __version__
from echoclient.errors import ClientError
from echoclient.options import examples

# Name -> (where the click command is, its line in the help). Only the command that runs is imported, so that
# `echoclient connect` starts without the load generator and the base install without its libraries.
COMMANDS: dict[str, tuple[str, str]] = {
    "connect": ("echoclient.connect:connect", "Talk to a server: a prompt in a terminal, else a byte-exact pipe."),
    "send": ("echoclient.send:send", "Make one exchange, and compare the reply if asked to."),
    "ping": ("echoclient.ping:ping", "Measure round trips, as ping(8) does."),
    "wait": ("echoclient.wait:wait", "Wait until a server answers: for scripts and containers."),
    "bench": ("echoclient.load.command:bench", "Load a server: check and time every reply."),
    "report": ("echoclient.load.command:report", "Draw the results of several bench runs on one page."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are used, from the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    epilog=examples("echoclient connect localhost:9000", "echoclient ping --help"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="echoclient")
def cli() -> None:
    """Talk to an echo server, measure it and load it.

    TARGET is a port, host, host:port or [v6]:port; by default 127.0.0.1:9000.

    Exit status: 0 all well, 1 failure (one line on standard error with the
    word REFUSED, TIMEOUT, DNS, RESET, CLOSED, DIFFERS or OTHER), 2 bad usage.
    """


def main() -> None:
    """Run the command line and exit: the entry point ``echoclient``.

    A command returns its exit status (``None`` is 0), or raises `ClientError` for status 1 and one line.
    """
    _occupy_standard_descriptors()
    try:
        status = cli.main(prog_name="echoclient", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except ClientError as error:
        click.echo(f"echoclient: {error}", err=True)
        status = 1
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except OSError as error:  # a full disk behind standard output, say: not of the network, which raises ClientError
        # The interpreter flushes standard output once more at exit, and would complain in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"echoclient: {ClientError((error.strerror or str(error)).lower())}", err=True)
        status = 1
    sys.exit(status)


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that the caller closed.

    Otherwise the socket would get that number, and what we print would go to the server.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
