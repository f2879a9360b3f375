"""The command line: finds the command, and is the only module that turns errors into messages and exit statuses."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from echoclient import __version__
from echoclient.errors import ClientError
from echoclient.options import examples

# Name -> (where the click command is, its line in the help). Only the command that runs is imported, so that for
# instance `echoclient connect` starts without the load generator.
COMMANDS: dict[str, tuple[str, str]] = {
    "connect": ("echoclient.connect:connect", "Talk to a server: a prompt in a terminal, a byte-exact pipe elsewhere."),
    "send": ("echoclient.send:send", "Make one exchange, and check the reply if asked to."),
    "ping": ("echoclient.ping:ping", "Measure round-trip times, as ping(8) does."),
    "wait": ("echoclient.wait:wait", "Wait until a server answers; for scripts and containers."),
    "bench": ("echoclient.load.command:bench", "Put load on a server; check and time every reply."),
    "report": ("echoclient.load.command:report", "Show the results of several bench runs on one page."),
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is used, from the table above."""

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
    epilog=examples(
        "echoclient connect localhost:9000", "echoclient ping tls://echo.example.net", "echoclient ping --help"
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="echoclient")
def cli() -> None:
    """Talk to an echo server, measure it, and put load on it.

    TARGET is a port, host, host:port or [v6]:port; the default is
    127.0.0.1:9000. After tls:// it is spoken to over TLS, by default on port
    9443. unix:/path is a unix socket.

    Exit status: 0 for success; 1 for a failure, with one line on standard
    error that has the word REFUSED, TIMEOUT, DNS, RESET, CLOSED, DIFFERS, TLS
    or OTHER; 2 for bad usage; 130 after Ctrl-C.
    """


def main() -> None:
    """Run the command line and exit: the entry point ``echoclient``.

    A command returns its exit status (``None`` is 0), or raises `ClientError` for status 1 and a one-line message.
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
    except OSError as error:  # for instance a full disk behind standard output; the network raises ClientError
        # The interpreter flushes standard output again at exit, and would report the error once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"echoclient: {ClientError((error.strerror or str(error)).lower())}", err=True)
        status = 1
    sys.exit(status)


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for each of the descriptors 0, 1 and 2 that the caller closed.

    Otherwise the socket would get that number, and what is printed would go to the server.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
