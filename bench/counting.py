"""What counting costs: `python -m bench.counting` serves messages with the tally and without, in this process.

"Without" is the same code compiled from the same source, with every statement that writes to a tally taken out. Two
sockets take turns under it: a fake one, which costs next to nothing, so that the difference can be seen at all, and a
real one on the loopback interface, so that it can be seen in proportion to a message's receive and send. What a server
under load spends on waiting and on switching threads comes on top of that, so in service the share is smaller.
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

from echoserver.handlers import find_handler
from echoserver.net.buffer import ReceiveBuffer
from echoserver.serving import nonblocking
from echoserver.serving.nonblocking import NonBlockingConnection

_MESSAGE = bytes(64)
_REPEATS = 40
_FAKE_MESSAGES, _REAL_MESSAGES = 2000, 500


class _FakeSocket:
    """Has the same message to receive every time, and takes every reply."""

    def recv(self, _size: int) -> bytes:
        return _MESSAGE

    def recv_into(self, _memory: memoryview) -> int:
        return len(_MESSAGE)

    def send(self, data: memoryview) -> int:
        return len(data)


class _WithoutTally(ast.NodeTransformer):
    """Takes out what writes to an attribute of a tally."""

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        return ast.Pass() if any(map(_of_a_tally, node.targets)) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        return ast.Pass() if _of_a_tally(node.target) else node


def _of_a_tally(target: ast.expr) -> bool:
    if not isinstance(target, ast.Attribute):
        return False
    owner = target.value
    return (isinstance(owner, ast.Name) and owner.id == "stats") or (
        isinstance(owner, ast.Attribute) and owner.attr == "stats"
    )


def without_tally() -> type[NonBlockingConnection]:
    """Return the class `NonBlockingConnection` of a module that counts nothing."""
    tree = _WithoutTally().visit(ast.parse(inspect.getsource(nonblocking)))
    module = ModuleType("nonblocking_without_tally")
    exec(compile(ast.fix_missing_locations(tree), "nonblocking.py without tally", "exec"), vars(module))  # noqa: S102
    return cast("type[NonBlockingConnection]", module.NonBlockingConnection)


@dataclass(frozen=True)
class Cost:
    """What a message costs the serving thread, in seconds.

    Attributes:
        counting: what the tally adds: the difference over the fake socket.
        whole: all of it, receive and send included, with the tally.
    """

    counting: float
    whole: float

    @property
    def share(self) -> float:
        """The part of a message's cost that is counting."""
        return self.counting / self.whole


def measure(repeats: int = _REPEATS) -> Cost:
    """Measure in short turns, one after the other, and take the medians, so that a disturbance meets them alike."""
    silent = without_tally()
    with_tally, without, real = [], [], []
    for _ in range(repeats):
        with_tally.append(_over_fake(NonBlockingConnection))
        without.append(_over_fake(silent))
        real.append(_over_loopback(NonBlockingConnection))
    differences = [one - other for one, other in zip(with_tally, without, strict=True)]
    return Cost(statistics.median(differences), statistics.median(real))


def _connection(of_class: type[NonBlockingConnection], sock: socket.socket) -> NonBlockingConnection:
    made = of_class(1, sock, ("127.0.0.1", 1), find_handler("echo", {}))
    made.turn(ReceiveBuffer())  # the first one greets
    return made


def _over_fake(of_class: type[NonBlockingConnection]) -> float:
    serve = _connection(of_class, cast("socket.socket", _FakeSocket())).turn
    buffer = ReceiveBuffer()
    began = time.perf_counter()
    for _ in range(_FAKE_MESSAGES):
        serve(buffer)
    return (time.perf_counter() - began) / _FAKE_MESSAGES


def _over_loopback(of_class: type[NonBlockingConnection]) -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    times = []
    with theirs, ours:
        for sock in (theirs, ours):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours.setblocking(False)
        serve, buffer = _connection(of_class, ours).turn, ReceiveBuffer()
        for _ in range(_REAL_MESSAGES):
            theirs.send(_MESSAGE)
            began = time.perf_counter()
            serve(buffer)
            times.append(time.perf_counter() - began)
            theirs.recv(len(_MESSAGE))
    return statistics.median(times)


@click.command()
def main() -> None:
    """Print what counting costs."""
    cost = measure()
    click.echo(
        f"counting: {cost.counting * 1e9:.0f} ns of {cost.whole * 1e9:.0f} ns that a message costs the server, "
        f"{cost.share:.1%}"
    )


if __name__ == "__main__":
    main()
