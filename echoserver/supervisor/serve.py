"""Setting up the supervisor, for the command `serve`."""

from __future__ import annotations

import os
import signal
import sys

from echoserver.config import LoadedConfig
from echoserver.errors import ConfigError
from echoserver.net.inherited import forget_descriptors
from echoserver.net.listener import listen_on_all
from echoserver.process.descriptors import make_room
from echoserver.process.notify import ServiceManager
from echoserver.process.signals import STOP_SIGNALS, signals_as_events
from echoserver.serving.board import Board
from echoserver.supervisor.pool import Pool
from echoserver.supervisor.reporting import Reporting
from echoserver.supervisor.succession import Load, processes_of
from echoserver.supervisor.supervisor import Supervisor
from echoserver.supervisor.title import set_title
from echoserver.supervisor.upgrade import STATE, TRIAL, check, inherit

_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
# Processes that retire keep their rows, so there are more rows than processes that serve.
_GENERATIONS = 8
_LEAST_ROWS = 64


def supervise(loaded: LoadedConfig, load: Load) -> None:
    """Serve with several processes until a signal ends them.

    Parameters
    ----------
    loaded:
        The configuration to begin with.
    load:
        Reads it again.

    Raises
    ------
    EchoServerError
        It can't be served.

    """
    config = loaded.config
    if not sys.platform.startswith("linux"):
        raise ConfigError("is refused: only Linux spreads peers over processes; must be 1", key="processes")
    if (bound := os.environ.pop(TRIAL, None)) is not None:
        check(config, bound)
        return
    make_room(config.max_connections)
    before = inherit(config, text) if (text := os.environ.pop(STATE, None)) is not None else None
    if before is None:
        listeners = listen_on_all(config.endpoints, config.backlog, os.environ)
        board = Board.new(max(_LEAST_ROWS, _GENERATIONS * processes_of(config)), config.max_connections)
    else:
        listeners, board = before.listeners, before.board
    forget_descriptors(os.environ)
    manager = ServiceManager(os.environ)
    set_title("echoserver: supervisor")
    with signals_as_events(*_SIGNALS) as inbox:
        pool = Pool(listeners, board, inbox, _SIGNALS)
        reporting = Reporting(config, {} if before is None else before.gone)
        supervisor = Supervisor(config, load, pool, reporting, inbox, manager)
        if before is not None:
            supervisor.inherit(before.serving, before.processes)
        supervisor.run()
