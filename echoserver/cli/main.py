"""The command `echoserver`: the only place that reads the command line, prints, takes signals and exits."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from echoserver.errors import ConfigError, EchoServerError

if TYPE_CHECKING:
    from echoserver.config import LoadedConfig

_Given = str | tuple[str, ...] | None
_STANDARD_ERROR = 2
_METAVARS = {str: "TEXT", int: "N", float: "NUMBER", bool: "true|false"}
_LOG_CLOSE_SECONDS = 1.0


def main() -> None:
    """Run the command line and exit with its code: 0, 1 where it can't serve, 2 for bad usage or configuration."""
    try:
        colour = False if os.environ.get("NO_COLOR") else None  # None: where it goes to a terminal
        code = _commands.main(prog_name="echoserver", standalone_mode=False, color=colour)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EchoServerError as error:
        click.echo(f"echoserver: {error}", err=True)
        code = error.exit_code
    except OSError as error:  # such as a full disk under the standard output
        click.echo(f"echoserver: {error.strerror or error}", err=True)
        code = 1
    if sys.argv[1:2] == ["healthcheck"]:
        code = min(code or 0, 1)  # a container engine knows 0 and 1, and reserves 2
    sys.exit(code)


@click.group(name="echoserver", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="echoserver", message="%(prog)s %(version)s")
def _commands() -> None:
    """Serve TCP connections: a handler gets each one's bytes, and what it returns is sent back.

    Example: echoserver serve --port 9000
    """


def _config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of the configuration, as texts: `config` reads those of all origins alike."""
    from echoserver.config import default_of, flag_of, options

    for name, option in reversed(list(options())):
        default = option.kind.show(default_of(name))
        kind = option.kind
        text = option.help if default in ({}, []) else f"{option.help}  [default: {default}]"
        function = click.option(flag_of(name), name, metavar=kind.metavar, multiple=kind.many, help=text)(function)
    return click.option("--config", metavar="FILE", help="A TOML file, as config/echoserver.toml shows it.")(function)


def _load(given: dict[str, _Given]) -> LoadedConfig:
    from echoserver.config import load_config

    # A handler in a file of the current folder is found by its module's name; last, so that it hides nothing installed.
    sys.path.append("")
    return load_config({key: value for key, value in given.items() if value not in (None, ())}, os.environ)


@contextmanager
def _signals_as_bytes() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Turn signals into bytes on a socket pair: the number of each, written by the interpreter's own C handler.

    No Python code runs in the signal's context, so there is nothing in it that could wait for a lock. Afterwards the
    signals are ignored: the process is ending, within a bounded time and with an exit code of its own.
    """
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)
    taken = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    signal.set_wakeup_fd(outbox.fileno(), warn_on_full_buffer=False)
    for number in taken:
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield inbox, outbox
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        inbox.close()
        outbox.close()


@_commands.command(
    short_help="Serve until SIGTERM or SIGINT.",
    epilog="Example: echoserver serve --host 0.0.0.0 --port 9000 --handler upper",
)
@_config_options
def serve(**given: _Given) -> None:
    """Serve until SIGTERM or SIGINT; then let open connections get their replies. A second signal cuts them.

    SIGUSR1 logs the counters, the connections and the threads. Each option can also stand in the environment
    (ECHOSERVER_PORT and so on) or in a TOML file; flags win over the environment, and the environment over the file.
    """
    loaded = _load(given)
    from echoserver.observe.logs import LogWriter
    from echoserver.process.descriptors import make_room
    from echoserver.process.run import operate, shortage_as_error
    from echoserver.server import Server
    from echoserver.serving.interpreter import take_charge_of_threads

    with shortage_as_error():
        writer = LogWriter(_STANDARD_ERROR, loaded.config.log_level, loaded.config.log_format)
    try:
        make_room(loaded.config.max_connections)
        take_charge_of_threads()
        with shortage_as_error():
            server = Server(loaded.config, log=writer.logger)
        with _signals_as_bytes() as (inbox, outbox):
            with shortage_as_error():
                server.start()
            operate(server, writer, inbox, outbox)
    except ConfigError as error:
        raise loaded.locate(error) from None
    finally:
        writer.close(_LOG_CLOSE_SECONDS)


@_commands.command(
    short_help="Print the effective configuration as TOML.",
    epilog="Example: ECHOSERVER_PORT=9001 echoserver config --handler upper",
)
@_config_options
def config(**given: _Given) -> None:
    """Print the configuration that `serve` would use with the same flags, as TOML, each value with its origin."""
    import tomli_w

    from echoserver.config import options
    from echoserver.handlers import find_handler

    loaded = _load(given)
    try:
        find_handler(loaded.config.handler, loaded.config.handler_options)
    except ConfigError as error:
        raise loaded.locate(error) from None
    table = ""
    for name, option in options():
        value = option.kind.show(getattr(loaded.config, name))
        origin = f"  # {loaded.origins[name]}"
        if isinstance(value, dict):
            # A table has to come after the plain values.
            table = f"\n[{name}]{origin}\n{tomli_w.dumps(value)}"
        else:
            click.echo(tomli_w.dumps({name: value}).rstrip("\n") + origin)
    click.echo(table, nl=False)


@_commands.command(short_help="List the handlers and their options.", epilog="Example: echoserver handlers")
def handlers() -> None:
    """List the handlers that can be served, with the options of each."""
    from echoserver.handlers.finding import available_handlers
    from echoserver.handlers.options import describe_options

    for name, target in available_handlers():
        if isinstance(target, ConfigError):
            click.echo(f"{click.style(name, bold=True)}  " + click.style(f"can't be used: {target.problem}", fg="red"))
            continue
        summary = (target.__doc__ or "").strip().partition("\n")[0]
        click.echo(f"{click.style(name, bold=True)}  {summary}")
        for option in describe_options(target):
            default = "required" if option.required else f"default: {option.default}"
            click.echo(f"    --handler-option {option.name}={_METAVARS[option.type]}  {option.help}  [{default}]")


@_commands.command(
    short_help="Exit 0 if the server answers, else 1.", epilog="Example: ECHOSERVER_PORT=9001 echoserver healthcheck"
)
@click.option("--timeout", metavar="DURATION", default="3s", help="How long it may take.  [default: 3s]")
@click.option("--config", "config_file", metavar="FILE", help="The file that the server was given.")
def healthcheck(timeout: str, config_file: str | None) -> None:
    """Exchange a line with the server that runs here: exit 0 if it answers, else 1 with the reason on one line.

    Host, port and handler are read as `serve` reads them, from the environment and the file.
    """
    from echoserver.clock import Deadline, parse_duration
    from echoserver.config import load_config
    from echoserver.process.healthcheck import exchange

    try:
        seconds = parse_duration(timeout)
    except ValueError:
        raise ConfigError(
            f"{timeout!r} is refused: must be a duration such as 500ms or 3s", origin="--timeout"
        ) from None
    loaded = load_config({} if config_file is None else {"config": config_file}, os.environ).config
    problem = exchange(loaded.host, loaded.port, loaded.handler, Deadline(seconds))
    if problem:
        raise EchoServerError(problem)
