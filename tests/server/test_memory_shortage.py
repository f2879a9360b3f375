"""One `MemoryError` at a time, at every step of a connection: it costs that connection at most."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

import echoserver.serving.connection
import echoserver.serving.lifecycle
import echoserver.serving.openings
import echoserver.serving.threads
import echoserver.serving.workers.poller
import echoserver.serving.workers.worker
from echoserver.errors import BindError
from echoserver.net.transport import PlainTransport
from echoserver.observe.metrics import Metrics
from echoserver.serving.admission import Admission, Lease
from echoserver.serving.blocking import BlockingDriver
from echoserver.serving.connection import Connection
from echoserver.serving.lifecycle import Lifecycle, Recipe
from echoserver.serving.limits import TimeLimits
from echoserver.serving.lingering import Lingering
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.registry import ConnectionRegistry
from echoserver.serving.session import Session
from echoserver.serving.workers.accepting import PollerAccepting
from echoserver.serving.workers.epoll_set import EpollSet
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.ready import ReadyQueue
from server.kit import PATIENCE, Peer, scripted
from server.ways import wait_for, wait_until_settled

# Where memory may run out: an attribute and what it is an attribute of.
EVERYWHERE: dict[str, tuple[Any, str]] = {
    "taking a place": (Admission, "take_place"),
    "making a connection": (Recipe, "make"),
    "its statistics": (echoserver.serving.connection, "ConnectionStats"),
    "its transport": (echoserver.serving.openings, "PlainTransport"),
    "its session": (echoserver.serving.lifecycle, "Session"),
    "entering it": (Lease, "enter"),
    "entering it in the metrics": (Metrics, "opened"),
    "entering it in the registry": (ConnectionRegistry, "add"),
    "setting its mode": (PlainTransport, "set_blocking"),
    "opening its session": (Session, "open"),
    "finishing its session": (Session, "finish"),
    "beginning its end": (Lifecycle, "begin_close"),
    "beginning to linger": (Connection, "start_lingering"),
    "lingering": (Lingering, "add"),
    "looking at those that linger": (Lingering, "take_done"),
    "its time limits": (TimeLimits, "judge"),
    "closing it": (Connection, "close"),
    "counting its end": (Metrics, "closed"),
    "logging its end": (echoserver.serving.lifecycle, "log_end"),
    "forgetting it": (Connection, "forget"),
    "leaving the registry": (ConnectionRegistry, "remove"),
    "releasing its place": (Lease, "release"),
}
THREADS: dict[str, tuple[Any, str]] = {
    "a thread's memory": (echoserver.serving.threads, "ReceiveBuffer"),
    "starting a thread": (echoserver.serving.threads._ServingThread, "start"),
    "parking a thread": (echoserver.serving.threads.ServingThreads, "park"),
    "its driver": (echoserver.serving.threads, "drive_blocking"),
    "serving it": (BlockingDriver, "serve"),
}
WORKERS: dict[str, tuple[Any, str]] = {
    "its driver": (echoserver.serving.workers.poller, "drive"),
    "serving an event": (NonBlockingDriver, "on_ready"),
    "a reply": (NonBlockingDriver, "_answer"),
    "arming it": (EpollSet, "arm"),
    "removing it": (Poller, "_remove"),
}
INLINE: dict[str, tuple[Any, str]] = {
    "beginning it": (PollerAccepting, "begin"),
    "updating it": (Poller, "_update"),
}
QUEUE: dict[str, tuple[Any, str]] = {
    "assigning it": (Poller, "assign"),
    "taking messages": (Poller, "_take_messages"),
    "queueing it": (ReadyQueue, "put"),
    "giving it back": (Poller, "give_back"),
}
CASES = [
    pytest.param(mode, dispatch, owner, attribute, id=f"{name}-{mode}-{dispatch}")
    for mode, dispatch, places in [
        ("threads", "auto", EVERYWHERE | THREADS),
        ("workers", "inline", EVERYWHERE | WORKERS | INLINE),
        ("workers", "queue", EVERYWHERE | WORKERS | QUEUE),
    ]
    for name, (owner, attribute) in places.items()
]


class Shortage:
    """Makes one call fail: the next one of the function that it stands before, once armed."""

    def __init__(self) -> None:
        self.armed = False
        self.hit = threading.Event()

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def short(*arguments: Any, **named: Any) -> Any:
            if self.armed:
                self.armed = False
                self.hit.set()
                raise MemoryError("on purpose")
            return function(*arguments, **named)

        return short


@pytest.fixture
def shortage(monkeypatch) -> Shortage:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # what is reported there is expected
    return Shortage()


def converse(server: Any, connect: Callable[..., Peer], *, politely: bool) -> None:
    """Go through all that may happen to a connection, as far as the server plays along."""
    with contextlib.suppress(OSError, AssertionError), connect(server) as peer:
        peer.sock.settimeout(2)
        peer.exchange(b"hello")
        peer.exchange(b"hello again")
        if politely:
            peer.finish()
        else:
            peer.send(b"fail")
        peer.read_to_break()


@pytest.mark.parametrize(("mode", "dispatch", "owner", "attribute"), CASES)
def test_one_shortage_costs_one_connection_at_most(
    serve, connect, log, monkeypatch, shortage, dispatch, owner, attribute
):
    def feed(data: bytes) -> bytes:
        if data == b"fail":
            raise ValueError("on purpose")
        return data

    monkeypatch.setattr(owner, attribute, shortage.before(getattr(owner, attribute)))
    server = serve(scripted(feed=feed, blocking=False), dispatch=dispatch, workers=2)
    bystander = connect(server)
    assert bystander.exchange(b"hello") == b"hello"
    # Its worker lets go of it after the reply.
    wait_for(lambda: server.stats().workers is None or not server.stats().workers.busy, "a worker stays busy")
    for politely in (True, False):
        shortage.armed = True
        converse(server, connect, politely=politely)
        # Not every place is on the way of a polite peer, and the janitor comes by in its own time.
        assert politely or shortage.hit.wait(PATIENCE)
        shortage.armed = False
        if shortage.hit.is_set():
            break
    if server._lifecycle.failure is None:
        for _ in range(3):
            assert connect(server).swap(b"after") == b"after"
        assert bystander.exchange(b"still here") == b"still here"
        bystander.close()
        wait_until_settled(server)
    else:
        assert log.lines("cannot go on serving")
        with pytest.raises(BindError, match="cannot go on serving"):
            server.wait()
    assert server._janitor.thread.is_alive()
    assert server.stop(timeout=1) == []
    assert log.lines("threads did not end") == []


@pytest.mark.parametrize("mode", ["threads"])
def test_a_thread_that_could_not_be_given_a_connection_gets_the_next_one(serve, connect, monkeypatch, shortage):
    class Mailbox(SimpleQueue):  # type: ignore[type-arg]
        def put(self, item: object, *_: Any) -> None:
            shortage.before(super().put)(item)

    monkeypatch.setattr(echoserver.serving.threads, "SimpleQueue", Mailbox)
    server = serve()
    assert connect(server).swap(b"first") == b"first"
    (thread,) = server._mode._all
    wait_for(lambda: server._mode._idle, "the thread never becomes idle")
    shortage.armed = True
    assert connect(server).read_to_break() == b""
    assert shortage.hit.is_set()
    assert connect(server).swap(b"third") == b"third"
    assert set(server._mode._all) == {thread}
    wait_until_settled(server)
