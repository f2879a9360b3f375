"""The supervisor executes itself anew (execve(2)), with the code that is installed by then.

Its process ID stays, and with it the worker processes stay its children. What it passes on is open descriptors, and a
description of them in one environment variable. The workers serve on until the new supervisor's own have taken over.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass

from echoserver.config import ServerConfig
from echoserver.errors import EchoServerError
from echoserver.net.endpoint import parse_endpoint
from echoserver.net.listener import Listener
from echoserver.observe.logger import LevelLogger
from echoserver.server import Server
from echoserver.serving.board import Board, Row
from echoserver.supervisor.channel import Channel, Message
from echoserver.supervisor.generation import Generation, Process, State
from echoserver.supervisor.pool import Pool

STATE = "_ECHOSERVER_SUPERVISOR"
"""The variable."""
TRIAL = "_ECHOSERVER_TRIAL"
_TRIAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a supervisor has from the one that it was before."""

    listeners: list[Listener]
    board: Board
    serving: Generation
    """The generation that serves until this one's own has come up."""
    processes: list[Process]
    """All worker processes."""
    gone: Message
    """The counters of processes that have ended."""


def try_out(config: ServerConfig) -> None:
    """Load the installed code and the configuration in a process of its own, to find out whether that works.

    Raises
    ------
    EchoServerError
        It doesn't. The text says why.

    """
    environment = {**os.environ, TRIAL: json.dumps([str(endpoint) for endpoint in config.endpoints])}
    try:
        done = subprocess.run(  # noqa: S603 - this program, as it was started
            _command(),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EchoServerError(f"the new code has not loaded after {_TRIAL_SECONDS:g} s") from None
    except OSError as error:
        raise _not_executed(error) from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().split("\n")
        raise EchoServerError(lines[-1] or f"exit code {done.returncode}")


def check(config: ServerConfig, bound: str) -> None:
    """Find out, in the process that tries, whether this code and this configuration can follow.

    Raises
    ------
    EchoServerError
        It can't.

    """
    endpoints = [str(endpoint) for endpoint in config.endpoints]
    if json.loads(bound) != endpoints:
        raise EchoServerError(
            f"can't change from {', '.join(json.loads(bound))} to {', '.join(endpoints)} while the server runs"
        )
    Server(config, log=LevelLogger("error", lambda _level, _event: None))


def execute(pool: Pool, generation: Generation, gone: Message, variables: dict[str, str]) -> None:
    """Execute this program anew; return only by an exception.

    Parameters
    ----------
    pool:
        The listeners, the board and the processes that the new image is to inherit.
    generation:
        The one that serves.
    gone:
        The counters of processes that have ended.
    variables:
        What it is to find in its environment besides.

    Raises
    ------
    EchoServerError
        The system can't execute it.

    """
    listeners = [{"fd": each.fileno(), "endpoint": each.name, "owner": each.owns_file} for each in pool.listeners]
    workers = [
        {
            "fd": each.channel.fileno(),
            "pid": each.pid,
            "row": each.row.index,
            "state": each.state.name,
            "serves": each.generation is generation,
            "report": each.report,
        }
        for each in pool
    ]
    board = [pool.board.descriptor, pool.board.freed]
    state = {
        "listeners": listeners,
        "board": board,
        "workers": workers,
        "generation": generation.number,
        "size": generation.size,
        "gone": gone,
    }
    passed = [*board, *(each.fileno() for each in pool.listeners), *(each.channel.fileno() for each in pool)]
    for number in passed:
        os.set_inheritable(number, True)
    # Ignored signals stay ignored, and blocked ones wait, until the new image has its handlers.
    handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    waiting = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        environment = {**os.environ, **variables, STATE: json.dumps(state)}
        os.execve(sys.executable, _command(), environment)  # noqa: S606 - as above
    except OSError as error:
        raise _not_executed(error) from None
    finally:
        signal.signal(signal.SIGUSR2, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waiting)
        for number in passed:
            os.set_inheritable(number, False)


def inherit(config: ServerConfig, text: str) -> Inherited:
    """Return what this supervisor has from the one that it was before, as the variable describes it."""
    state = json.loads(text)
    board = Board(*state["board"])
    for number in state["board"]:
        os.set_inheritable(number, False)
    listeners = [
        Listener(_socket(entry["fd"]), parse_endpoint(entry["endpoint"]), made_here=entry["owner"])
        for entry in state["listeners"]
    ]
    serving = Generation(state["generation"], config, state["size"])
    retiring = Generation(0, config, 0)
    processes = []
    for entry in state["workers"]:
        generation = serving if entry["serves"] else retiring
        process = Process(generation, Row(board, entry["row"]), entry["pid"], Channel(_socket(entry["fd"])))
        process.state, process.report = State[entry["state"]], entry["report"]
        process.served_since = process.born if process.state is not State.STARTING else None
        generation.members.append(process)
        processes.append(process)
    return Inherited(listeners, board, serving, processes, state["gone"])


def _socket(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


def _not_executed(error: OSError) -> EchoServerError:
    return EchoServerError(f"cannot execute {sys.executable}: {os.strerror(error.errno or 0)}")
