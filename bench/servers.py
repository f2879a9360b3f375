"""The servers that are compared: what each one is, and the command that starts it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import native
from bench.certificate import Certificate
from bench.workloads import Workload

_COMPETITORS = Path(__file__).parent / "competitors"


@dataclass(frozen=True)
class Server:
    """A server that takes part in the comparison.

    Attributes
    ----------
    name:
        Its name on the command line and in the tables.
    about:
        What it is, for the reader.
    command:
        How it is started; ``{port}``, ``{handler}`` and ``{program}`` are filled in.
    tls:
        What the command becomes for TLS, with ``{certificate}`` and ``{key}``; empty if it doesn't serve TLS here.
    needs:
        What has to be there: the module ``uvloop``, the program ``socat``, or ``cc`` for one of our own sources.
    workloads:
        Those in which it takes part; empty for all.
    limit_flag:
        The option that raises its connection limit; empty if it has no limit.
    """

    name: str
    about: str
    command: tuple[str, ...]
    tls: tuple[str, ...] = ()
    needs: str = ""
    workloads: tuple[str, ...] = ()
    limit_flag: str = ""

    @property
    def is_echoserver(self) -> bool:
        """Whether it is echoserver."""
        return "echoserver" in self.command

    @property
    def installed(self) -> bool:
        """Whether it can be started here."""
        if self.needs == "cc":
            return native.program(self.name) is not None
        return not self.needs or shutil.which(self.needs) is not None or find_spec(self.needs) is not None

    def serves(self, workload: Workload) -> bool:
        """Return whether it takes part in a workload."""
        if workload.traffic.tls and not self.tls:
            return False
        return not self.workloads or workload.name in self.workloads

    def arguments(self, port: int, handler: str, connections: int, certificate: Certificate | None = None) -> list[str]:
        """Return the command line that serves that many connections."""
        values = {"port": port, "handler": handler, "program": ""}
        command = self.command
        if self.needs == "cc":
            values["program"] = str(native.program(self.name))
        if certificate is not None:
            command = self.tls
            values |= {"certificate": str(certificate.certificate), "key": str(certificate.key)}
        filled = [part.format_map(values) for part in command]
        # Below its default limit, a server runs with its defaults.
        return [*filled, self.limit_flag, str(connections + 64)] if self.limit_flag and connections > 1000 else filled


_CERTIFICATE = ("{certificate}", "{key}")


def _ours(name: str, about: str, *options: str) -> Server:
    command = (sys.executable, "-m", "echoserver", "serve", "--handler", "{handler}", *options)
    tls = ("--listen", "tls://127.0.0.1:{port}", "--tls-cert", "{certificate}", "--tls-key", "{key}")
    return Server(name, about, (*command, "--port", "{port}"), (*command, *tls), limit_flag="--max-connections")


def _script(script: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, str(_COMPETITORS / script), "{port}", "{handler}", *more)


_ASYNCIO = _script("with_asyncio.py", "asyncio")
_UVLOOP = _script("with_asyncio.py", "uvloop")
_SOCAT = ("socat", "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=1024", "PIPE")
_IN_C = ("{program}", "{port}", "{handler}")
SERVERS = {
    server.name: server
    for server in (
        _ours("threads", "echoserver with one thread per connection, its default"),
        _ours("workers", "echoserver `--mode workers`: the polling thread serves the connections", "--mode", "workers"),
        _ours(
            "workers-queue",
            "echoserver `--mode workers --dispatch queue`: worker threads serve the connections",
            *("--mode", "workers", "--dispatch", "queue"),
        ),
        Server("socketserver", "`socketserver.ThreadingTCPServer`", _script("with_socketserver.py")),
        Server("asyncio", "an `asyncio.Protocol`", _ASYNCIO, (*_ASYNCIO, *_CERTIFICATE)),
        Server("uvloop", "the same protocol on uvloop", _UVLOOP, (*_UVLOOP, *_CERTIFICATE), needs="uvloop"),
        Server("gevent", "`gevent.server.StreamServer`", _script("with_gevent.py"), needs="gevent"),
        Server(
            "socat", "`socat`: one process per connection", _SOCAT, needs="socat", workloads=("1x64", "16x64", "64x64")
        ),
        Server("c-threads", "one thread per connection in C: `bench/competitors/threads.c`", _IN_C, needs="cc"),
        Server("c-epoll", "one epoll loop in C, `bench/competitors/epoll.c`: what the kernel costs", _IN_C, needs="cc"),
    )
}
