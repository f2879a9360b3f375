"""Starting a server as a process of its own, and the guarantee that it is stopped."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import cores
from bench.certificate import Certificate
from bench.servers import Server

HOST = "127.0.0.1"
# Below the ephemeral ports of Linux and macOS. While the server is not up yet, the kernel could otherwise choose the
# port we are connecting to as our own, and TCP would connect the socket to itself (simultaneous open).
_FIRST_PORT, _PORTS = 15_000, 15_000
_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 5.0
# The interval between attempts to connect to a server that is starting, and so the error of its start-up time.
_RETRY_INTERVAL = 0.0005


class ServerFailedError(Exception):
    """A server did not start, or did not answer; the message is one line."""


@dataclass(frozen=True)
class RunningServer:
    """A server that has been started.

    Attributes
    ----------
    port:
        The port it listens on.
    pid:
        Its process ID.
    started:
        When its process was started, on the monotonic clock, in seconds.
    certificate:
        What it serves TLS with; ``None`` if it doesn't.
    """

    port: int
    pid: int
    started: float
    certificate: Certificate | None = None


@contextmanager
def running(
    server: Server, handler: str = "echo", connections: int = 0, certificate: Certificate | None = None
) -> Iterator[RunningServer]:
    """Start a server as a process of its own on the server's cores, and stop it however the block ends.

    Its output goes to a file, as a log usually does. If it fails, the last line becomes part of the error.

    Parameters
    ----------
    server:
        The server to start.
    handler:
        ``echo`` or ``upper``.
    connections:
        How many will be open at once.
    certificate:
        What to serve TLS with; plain TCP if there is none.

    Raises
    ------
    ServerFailedError
        It is not up in time, or it has died.
    """
    port = _free_port()
    # Keep compiled modules, as an installation does: otherwise start-up would mostly be compiling.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ECHOSERVER_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, (Path(folder) / "log").open("w+b") as log:
        process = None
        try:
            started = time.monotonic()
            # Otherwise an interrupt could arrive after the start and before we know the process.
            with _interrupts_deferred(), cores.on(cores.share().server):
                process = subprocess.Popen(  # noqa: S603 - from the table above
                    server.arguments(port, handler, connections, certificate),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for us; we stop the server
                )
            yield RunningServer(port, process.pid, started, certificate)
            if process.poll() is not None:
                raise ServerFailedError(_exit_message(process, log.name))
        except OSError as error:
            if process is not None and process.poll() is not None:
                raise ServerFailedError(_exit_message(process, log.name)) from None
            raise ServerFailedError(f"{server.name}: {error.strerror or error}") from error
        finally:
            if process is not None:
                _stop(process)


def wait_for_reply(server: RunningServer) -> float:
    """Exchange one byte with a server that is starting; return the seconds from the start of its process to the reply.

    Raises
    ------
    OSError
        The server is not up in time, or does not answer.
    """
    while True:
        try:
            sock = socket.create_connection((HOST, server.port), _START_TIMEOUT)
        except ConnectionRefusedError:
            if time.monotonic() - server.started > _START_TIMEOUT or not _alive(server.pid):
                raise
            time.sleep(_RETRY_INTERVAL)
            continue
        if server.certificate is not None:
            sock = server.certificate.client_context().wrap_socket(sock, server_hostname=HOST)
        with sock:
            sock.sendall(b"x")
            if not sock.recv(1):
                raise ConnectionResetError("the first connection was closed without a reply")
            return time.monotonic() - server.started


def _alive(pid: int) -> bool:
    """Return whether a child process is running, and leave its exit status to be collected by `Popen`."""
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


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, and kill it if it does not exit in time."""
    with _interrupts_deferred():
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block. Main thread only."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            raise KeyboardInterrupt


def _exit_message(process: subprocess.Popen[bytes], log: str) -> str:
    lines = Path(log).read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"the server ended with status {process.returncode}: {last}"
