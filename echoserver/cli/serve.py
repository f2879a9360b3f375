"""The command `echoserver serve`."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from echoserver.cli.options import Given, config_options, load
from echoserver.errors import ConfigError
from echoserver.net.inherited import forget_descriptors
from echoserver.observe.logs import LogWriter
from echoserver.process.descriptors import make_room
from echoserver.process.notify import ServiceManager
from echoserver.process.reloading import reload
from echoserver.process.run import Reload, run
from echoserver.process.shortage import shortage_as_error
from echoserver.process.signals import EventInbox, signals_as_events, taken_signals
from echoserver.process.uncaught import uncaught_errors_to
from echoserver.server import Server
from echoserver.serving.interpreter import take_charge_of_threads

if TYPE_CHECKING:
    from echoserver.admin.serving import AdminServer

_STANDARD_ERROR = 2
_LOG_CLOSE_SECONDS = 1.0


@click.command(
    "serve", epilog="Example: echoserver serve --listen tcp://0.0.0.0:9000 --listen unix:/run/echo.sock --handler upper"
)
@config_options
def command(**given: Given) -> None:
    """Serve until SIGTERM or SIGINT, then let open connections get their replies. A second signal cuts them.

    SIGHUP reads the configuration and the certificates again. SIGUSR1 logs the counters, the connections and the
    threads. Each option can also be set in the environment (ECHOSERVER_PORT and so on) or in a TOML file; flags
    override the environment, which overrides the file.
    """
    loaded = load(given)
    if loaded.config.processes != 1:
        from echoserver.supervisor.serve import supervise  # most servers are one process

        try:
            supervise(loaded, lambda: load(given))
        except ConfigError as error:
            raise loaded.locate(error) from None
        return
    with shortage_as_error():
        writer = LogWriter(_STANDARD_ERROR, loaded.config.log_level, loaded.config.log_format)
    manager = ServiceManager(os.environ)
    try:
        make_room(loaded.config.max_connections)
        take_charge_of_threads()
        with shortage_as_error():
            server = Server(loaded.config, log=writer.logger)
        with signals_as_events(*taken_signals()) as inbox, uncaught_errors_to(writer.logger, inbox.post):
            again = partial(reload, server, writer, manager, lambda: load(given))
            admin = _admin(server, writer, inbox, again)
            with shortage_as_error():
                server.start()
            forget_descriptors(os.environ)
            run(server, writer, inbox, manager, again, admin)
    except ConfigError as error:
        raise loaded.locate(error) from None
    finally:
        writer.close(_LOG_CLOSE_SECONDS)


def _admin(server: Server, writer: LogWriter, inbox: EventInbox, again: Reload) -> AdminServer | None:
    if server.config.admin is None:
        return None
    from echoserver.process.administering import make_admin  # most servers have no such endpoint

    return make_admin(server.config.admin, server, writer, inbox, again)
