"""Which cores the serving threads run on: the kernel is asked, thread by thread."""

from __future__ import annotations

import errno
import os
import sys
import threading

import pytest

import echoserver.serving.affinity
from echoserver.errors import ConfigError
from echoserver.handlers import find_handler
from echoserver.net.buffer import USUAL_BYTES, ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Cores
from echoserver.serving.blocking import BlockingConnection
from server.kit import PATIENCE, Peer, scripted, tcp_pair, wait_arrived
from support import Service

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
several_cores = pytest.mark.skipif(len(ALL) < 2, reason="this process has one core: there is nothing to choose")


def of_this_thread() -> set[int]:
    return os.sched_getaffinity(0)


@several_cores
@pytest.mark.parametrize(
    ("wanted", "lock_bound", "chooses", "spreads"),
    [
        ("one", True, True, False),
        ("one", False, True, False),
        ("auto", True, True, True),
        ("auto", False, False, False),
        ("all", True, False, False),
        ("all", False, False, False),
    ],
)
def test_when_there_is_one_core_and_who_may_leave_it(wanted, lock_bound, chooses, spreads, background):
    cores = Cores(wanted, lock_bound=lock_bound)
    assert (cores.core in ALL) if chooses else cores.core is None
    shared = {cores.core} if chooses else ALL

    def move() -> list[set[int]]:
        cores.share()
        before = of_this_thread()
        cores.spread()
        return [before, of_this_thread()]

    assert background(move).result(PATIENCE) == [shared, ALL if spreads else shared]
    assert of_this_thread() == ALL  # only the thread that asked for it was moved


@several_cores
def test_the_servers_of_a_process_take_the_same_and_those_of_a_machine_do_not(monkeypatch):
    assert len({Cores("one", lock_bound=True).core for _ in range(20)}) == 1
    drawn = set()
    for lot in range(len(ALL)):
        monkeypatch.setattr(echoserver.serving.affinity, "_LOT", lot)
        drawn.add(Cores("one", lock_bound=True).core)
    assert drawn == ALL


@several_cores
def test_without_the_interpreters_lock_auto_is_all(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert Cores("auto", lock_bound=True).core is None
    assert Cores("one", lock_bound=True).core is not None


def test_it_is_one_of_those_that_are_allowed(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    assert Cores("one", lock_bound=True).core == 3


def test_where_no_thread_can_choose(serve, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert Cores("auto", lock_bound=True).core is None
    with pytest.raises(ConfigError, match="one is refused: this platform lets no thread choose") as refused:
        serve(cores="one")
    assert refused.value.key == "cores"


@several_cores
def test_a_core_that_was_taken_away_costs_nobody_a_connection(serve, connect, monkeypatch):
    def taken(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "sched_setaffinity", taken)
    peer = connect(serve(cores="one"))
    data = os.urandom(300_000)
    assert peer.exchange(b"hello") == b"hello"
    assert peer.swap(data) == data


def serving_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("conn-", "worker-", "poller", "acc"))]


@several_cores
def test_the_threads_that_accept_and_serve_share_a_core(serve, connect, log):
    """In workers mode this handler is called by worker threads."""
    where = []

    def feed(data: bytes) -> bytes:
        where.append(of_this_thread())
        return data

    # One worker: a second, with nothing to do, may not have come that far.
    server = serve(scripted(feed=feed), cores="one", workers=1)
    for _ in range(3):
        assert connect(server).exchange(b"hello") == b"hello"
    shared = where[0]
    assert len(shared) == 1
    assert where == [shared] * 3
    seen = {thread.name.rstrip("0123456789"): os.sched_getaffinity(thread.native_id) for thread in serving_threads()}
    assert len(seen) >= 2
    assert {log.lines("listening")[0]["core"]} == shared
    assert all(cores == shared for cores in seen.values()), seen


class Told(Cores):
    """Cores that note what a connection asks of them."""

    def __init__(self) -> None:
        super().__init__("all", lock_bound=True)
        self.asked: list[str] = []

    def share(self) -> None:
        self.asked.append("share")

    def spread(self) -> None:
        self.asked.append("spread")


@pytest.mark.parametrize(
    ("length", "breaks", "asked"),
    [
        (USUAL_BYTES - 1, False, []),
        (USUAL_BYTES, False, ["spread", "share"]),
        (USUAL_BYTES, True, ["spread", "share"]),
    ],
)
def test_bulk_data_spreads_its_thread_until_the_connection_ends(length, breaks, asked, monkeypatch):
    def break_off(_: BlockingConnection) -> bool:
        raise ConnectionResetError

    served, peer = tcp_pair()
    with served, peer:
        connection = BlockingConnection(1, served, ("127.0.0.1", 1), find_handler("echo", {}))
        peer.send(bytes(length))
        wait_arrived(connection, length)
        peer.finish()
        if breaks:  # right after it spread
            monkeypatch.setattr(BlockingConnection, "_move_more", break_off)
        cores = Told()
        assert connection.serve(ReceiveBuffer(), cores) is (CloseReason.RESET if breaks else CloseReason.EOF)
        assert cores.asked == asked


def test_short_messages_bring_a_thread_back_that_moved_bulk_data(background):
    served, peer = tcp_pair()
    with served, peer:
        connection = BlockingConnection(1, served, ("127.0.0.1", 1), find_handler("echo", {}))
        bulk = bytes(USUAL_BYTES)
        peer.send(bulk)
        wait_arrived(connection, len(bulk))
        cores = Told()
        ended = background(connection.serve, ReceiveBuffer(), cores)
        assert peer.read(len(bulk)) == bulk
        for _ in range(63):
            assert peer.exchange(b"short") == b"short"
        assert cores.asked == ["spread"]
        assert peer.exchange(b"short") == b"short"
        peer.finish()
        assert ended.result(PATIENCE) is CloseReason.EOF
        assert cores.asked == ["spread", "share"]


@several_cores
@pytest.mark.parametrize(
    ("handler", "mode", "shared"),
    [
        ("echo", ("--mode", "threads"), True),
        ("upper", ("--mode", "threads"), True),
        ("os:fsencode", ("--mode", "threads"), False),  # nobody has said of it that it never blocks
        ("echo", ("--mode", "workers"), False),  # one thread serves: where it runs is the kernel's to say
        ("echo", ("--mode", "workers", "--dispatch", "queue"), True),
        ("os:fsencode", ("--mode", "workers"), False),
    ],
)
def test_what_auto_is(handler, mode, shared):
    with Service("--handler", handler, *mode) as service, Peer(service.address) as peer:
        assert peer.exchange(b"HELLO") == b"HELLO"
        tasks = os.listdir(f"/proc/{service.process.pid}/task")
        assert any(len(os.sched_getaffinity(int(task))) == 1 for task in tasks) == shared
