"""Who is compared: how each server is started, and that it is always ended."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HOST = "127.0.0.1"
_PEERS = Path(__file__).parent / "peers"
_OURS = (sys.executable, "-m", "echoserver", "serve", "--port", "{port}", "--handler", "{handler}")
# Below the ports that Linux and macOS hand out to clients: or, while we try to connect to a server that is not up yet,
# the kernel may pick the very port we try, and TCP connects us to ourselves.
_FIRST_PORT, _PORTS = 15_000, 15_000
_STARTS_WITHIN = 20.0
_ENDS_WITHIN = 5.0
# How often a server that is starting is tried; what its start-up time may be wrong by.
_TRY_EVERY = 0.0005


class ServerFailedError(Exception):
    """A server did not start, or did not answer; the text is one line."""


@dataclass(frozen=True)
class Server:
    """One of those that are compared.

    Attributes:
        name: as it is named on the command line and in the tables.
        about: what it is, for the reader.
        command: how it is started; ``{port}`` and ``{handler}`` are filled in.
        module: what has to be installed for it; empty: nothing.
        limit_flag: how it is told that many connections are coming; empty: it need not be told.
    """

    name: str
    about: str
    command: tuple[str, ...]
    module: str = ""
    limit_flag: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is echoserver."""
        return "echoserver" in self.command

    @property
    def installed(self) -> bool:
        """Whether it can be started here."""
        return not self.module or find_spec(self.module) is not None

    def arguments(self, port: int, handler: str, connections: int) -> list[str]:
        """Return the command line to serve so many connections."""
        filled = [part.format(port=port, handler=handler) for part in self.command]
        # Up to its default it is run with its defaults.
        return [*filled, self.limit_flag, str(connections + 64)] if self.limit_flag and connections > 1000 else filled


def _peer(script: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, str(_PEERS / script), "{port}", "{handler}", *more)


_LIMIT = "--max-connections"
SERVERS = {
    server.name: server
    for server in (
        Server("threads", "echoserver, a thread per connection (its default)", _OURS, limit_flag=_LIMIT),
        Server(
            "threads-all-cores",
            "the same with `--cores all`: its threads run wherever the kernel puts them",
            (*_OURS, "--cores", "all"),
            limit_flag=_LIMIT,
        ),
        Server(
            "workers",
            "echoserver `--mode workers`: turns are served by the poller",
            (*_OURS, "--mode", "workers"),
            limit_flag=_LIMIT,
        ),
        Server(
            "workers-queue",
            "echoserver `--mode workers --dispatch queue`: turns are handed over to worker threads",
            (*_OURS, "--mode", "workers", "--dispatch", "queue"),
            limit_flag=_LIMIT,
        ),
        Server("socketserver", "`socketserver.ThreadingTCPServer`", _peer("with_socketserver.py")),
        Server("asyncio", "an `asyncio.Protocol`", _peer("with_asyncio.py", "asyncio")),
        Server("uvloop", "the same protocol on uvloop", _peer("with_asyncio.py", "uvloop"), module="uvloop"),
        Server("gevent", "`gevent.server.StreamServer`", _peer("with_gevent.py"), module="gevent"),
    )
}


@dataclass(frozen=True)
class Running:
    """A server that has been started.

    Attributes:
        port: that it listens on.
        pid: of its process.
        started: when its process was started, on the monotonic clock.
    """

    port: int
    pid: int
    started: float


@contextmanager
def running(server: Server, handler: str = "echo", connections: int = 0) -> Iterator[Running]:
    """Start a server as a process of its own, and end it however the block ends.

    What it prints goes to a file, as a log usually does; its last line is part of the error if it fails.

    Args:
        server: which.
        handler: ``echo`` or ``upper``.
        connections: how many will be open at once.

    Raises:
        ServerFailedError: it is not up in time, or died.
    """
    port = _free_port()
    # Compiled modules are kept, as an installation keeps them, or compiling them would be most of starting.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ECHOSERVER_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, (Path(folder) / "log").open("w+b") as log:
        process = None
        try:
            started = time.monotonic()
            with _uninterrupted():  # or an interrupt could come between its start and our knowing of it
                process = subprocess.Popen(  # noqa: S603 - the table above
                    server.arguments(port, handler, connections),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for us, and we end it
                )
            yield Running(port, process.pid, started)
            if process.poll() is not None:
                raise ServerFailedError(_last_words(process, log.name))
        except OSError as error:
            if process is not None and process.poll() is not None:
                raise ServerFailedError(_last_words(process, log.name)) from None
            raise ServerFailedError(f"{server.name}: {error.strerror or error}") from error
        finally:
            if process is not None:
                _end(process)


def wait_for_reply(server: Running) -> float:
    """Exchange one byte with a server that is starting; return the seconds from its process's start to the reply.

    Raises:
        ServerFailedError: there is none in time.
        OSError: the server is up and does not answer.
    """
    while True:
        try:
            sock = socket.create_connection((HOST, server.port), _STARTS_WITHIN)
        except ConnectionRefusedError:
            if time.monotonic() - server.started > _STARTS_WITHIN or not _alive(server.pid):
                raise
            time.sleep(_TRY_EVERY)
            continue
        with sock:
            sock.sendall(b"x")
            if not sock.recv(1):
                raise ConnectionResetError("the first connection was closed without a reply")
            return time.monotonic() - server.started


def _alive(pid: int) -> bool:
    """Return whether a child of ours has not ended, and leave its exit status to whoever waits for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _free_port() -> int:
    while True:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:  # in use
                continue
            return port


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process by its id, gently first."""
    with _uninterrupted():
        process.terminate()
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and a request to terminate off until the end of the block, in the main thread."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            raise KeyboardInterrupt


def _last_words(process: subprocess.Popen[bytes], log: str) -> str:
    lines = Path(log).read_text(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"the server ended with status {process.returncode}: {said}"
