"""Every way in which a connection can be served, and what must hold once all of them have ended."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from echoserver import Server
from echoserver.clock import Deadline
from echoserver.serving.connection import Connection
from echoserver.serving.interpreter import has_gil
from server.kit import PATIENCE, wait_until_idle

every_way = pytest.mark.parametrize(
    ("mode", "dispatch"), [("threads", "auto"), ("workers", "inline"), ("workers", "queue")]
)
"""For handlers that do not block: in a thread, in the poller, in a worker."""

each_transport = pytest.mark.parametrize("transport", ["tcp", "unix"])
"""For what must hold over TCP and over unix sockets."""

workers_ways = pytest.mark.parametrize(("mode", "dispatch"), [("workers", "inline"), ("workers", "queue")])

blocking_ways = pytest.mark.parametrize(("mode", "dispatch"), [("threads", "auto"), ("workers", "queue")])
"""For handlers that may block."""


def wait_for(condition: Callable[[], object], problem: str) -> None:
    """Wait until a condition holds that no event tells of."""
    deadline, pause = Deadline(PATIENCE), Event()
    while not condition():
        assert not deadline.expired, problem
        pause.wait(0.002)


def free_places(server: Server) -> int:
    return server._admission.places.free


def wait_until_settled(server: Server) -> None:
    """Wait until every connection has ended; then all places are free and every connection is counted."""
    wait_until_idle(server)
    wait_for(lambda: free_places(server) == server.config.max_connections, "a place was lost")
    stats = server.stats()
    assert stats.active == 0
    assert stats.accepted == sum(stats.closed.values())


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep the garbage collector from freeing what only a reference cycle keeps alive."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def let_owners_release(server: Server) -> None:
    """Have the interpreter free what the server has let go of.

    Without the interpreter lock, an object whose last reference another thread drops is freed by the thread that made
    it, when that one runs Python code again or ends (PEP 703, biased reference counting). Here it ends.
    """
    if not has_gil():
        server.stop()


def connections_alive() -> int:
    """Return how many connections there are in memory, of all servers."""
    return sum(type(thing) is Connection for thing in gc.get_objects())
