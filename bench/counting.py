"""What counting costs: `python -m bench.counting` serves messages with and without counters, in this process.

"Without" is the same source, compiled with every statement that writes to a counter removed. Both versions run over a
fake socket, which costs next to nothing, so that the difference is measurable at all. A real socket on the loopback
interface gives what a whole message costs. A server under load also waits and switches threads, so there the share of
counting is smaller still.
"""

from __future__ import annotations

import ast
import inspect
import socket
import statistics
import time
from dataclasses import dataclass
from types import ModuleType
from typing import cast

import click

from bench.running import HOST
from echoserver.handlers import find_handler
from echoserver.net.buffer import ReceiveBuffer
from echoserver.net.transport import PlainTransport
from echoserver.observe.metrics import CloseReason
from echoserver.serving import nonblocking
from echoserver.serving.connection import Connection
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.session import Session

# The variables and attributes of the driver that hold a connection's counters.
_COUNTERS = ("stats", "_stats")
_MESSAGE = bytes(64)
_REPEATS = 40
_FAKE_MESSAGES, _REAL_MESSAGES = 2000, 500


class FakeSocket:
    """Always has the same message to receive, and accepts every reply."""

    def recv(self, _size: int) -> bytes:
        """Return the message."""
        return _MESSAGE

    def recv_into(self, _memory: memoryview) -> int:
        """Claim to have received the message."""
        return len(_MESSAGE)

    def send(self, data: memoryview) -> int:
        """Claim to have sent everything."""
        return len(data)


class _NoLease:
    """Occupies nothing: there is no server."""

    def enter_proxied_host(self, _host: str) -> bool:
        return True

    def fold(self, _reason: CloseReason) -> bool:
        return True

    def release(self) -> None:
        pass


class _RemoveCounting(ast.NodeTransformer):
    """Removes the statements that assign to a counter."""

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        return ast.Pass() if any(map(_is_counter, node.targets)) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        return ast.Pass() if _is_counter(node.target) else node


def _is_counter(target: ast.expr) -> bool:
    if not isinstance(target, ast.Attribute):
        return False
    owner = target.value
    return (isinstance(owner, ast.Name) and owner.id in _COUNTERS) or (
        isinstance(owner, ast.Attribute) and owner.attr in _COUNTERS
    )


def without_counting() -> type[NonBlockingDriver]:
    """Return a `NonBlockingDriver` that counts nothing."""
    tree = _RemoveCounting().visit(ast.parse(inspect.getsource(nonblocking)))
    module = ModuleType("nonblocking_without_counting")
    exec(compile(ast.fix_missing_locations(tree), "nonblocking.py without counting", "exec"), vars(module))  # noqa: S102
    return cast("type[NonBlockingDriver]", module.NonBlockingDriver)


@dataclass(frozen=True)
class Cost:
    """What a message costs the serving thread, in seconds.

    Attributes
    ----------
    counting:
        What the counters add, measured over the fake socket.
    whole:
        Everything, including the receive and the send.
    """

    counting: float
    whole: float

    @property
    def share(self) -> float:
        """The share of a message's cost that is counting."""
        return self.counting / self.whole


def measure(repeats: int = _REPEATS) -> Cost:
    """Measure the versions alternately in short runs and take medians, so that a disturbance affects them alike."""
    non_counting = without_counting()
    counting, without, real = [], [], []
    for _ in range(repeats):
        counting.append(_over_fake(NonBlockingDriver))
        without.append(_over_fake(non_counting))
        real.append(_over_loopback(NonBlockingDriver))
    differences = [one - other for one, other in zip(counting, without, strict=True)]
    return Cost(statistics.median(differences), statistics.median(real))


def make_driver(driver: type[NonBlockingDriver], sock: socket.socket) -> NonBlockingDriver:
    """Return a driver of an echo connection over this socket, past its greeting."""
    session = Session(find_handler("echo", {}), (HOST, 1))
    made = driver(Connection(1, "", PlainTransport(sock), session, _NoLease()))
    made.on_ready(ReceiveBuffer())
    return made


def _over_fake(driver: type[NonBlockingDriver]) -> float:
    serve = make_driver(driver, cast("socket.socket", FakeSocket())).on_ready
    buffer = ReceiveBuffer()
    began = time.perf_counter()
    for _ in range(_FAKE_MESSAGES):
        serve(buffer)
    return (time.perf_counter() - began) / _FAKE_MESSAGES


def _over_loopback(driver: type[NonBlockingDriver]) -> float:
    with socket.create_server((HOST, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    times = []
    with client, server:
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setblocking(False)
        serve, buffer = make_driver(driver, server).on_ready, ReceiveBuffer()
        for _ in range(_REAL_MESSAGES):
            client.send(_MESSAGE)
            began = time.perf_counter()
            serve(buffer)
            times.append(time.perf_counter() - began)
            client.recv(len(_MESSAGE))
    return statistics.median(times)


@click.command()
def main() -> None:
    """Print what counting costs."""
    cost = measure()
    click.echo(
        f"counting takes {cost.counting * 1e9:.0f} ns of the {cost.whole * 1e9:.0f} ns that a message costs: "
        f"{cost.share:.1%}"
    )


if __name__ == "__main__":
    main()
