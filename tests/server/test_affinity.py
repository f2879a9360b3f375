"""Which cores the serving threads run on, as the kernel reports it for each thread."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from echoserver.errors import ConfigError
from echoserver.net.buffer import SMALL_BYTES, ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.blocking import BlockingDriver
from echoserver.serving.interpreter import has_gil
from server.connection_kit import make_connection, tcp_pair
from server.kit import PATIENCE, Peer, scripted, wait_arrived
from support import Service, environment

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
several_cores = pytest.mark.skipif(len(ALL) < 2, reason="this process has one core: there is nothing to choose")


def of_this_thread() -> set[int]:
    return os.sched_getaffinity(0)


@several_cores
@pytest.mark.parametrize(
    ("wanted", "lock_bound", "chooses", "unpins"),
    [
        ("one", True, True, False),
        ("one", False, True, False),
        ("auto", True, has_gil(), has_gil()),  # without the lock, threads on several cores don't hinder each other
        ("auto", False, False, False),
        ("all", True, False, False),
        ("all", False, False, False),
    ],
)
def test_when_there_is_one_core_and_who_may_leave_it(wanted, lock_bound, chooses, unpins, background):
    affinity = Affinity(wanted, lock_bound=lock_bound)
    assert (affinity.core in ALL) if chooses else affinity.core is None
    shared = {affinity.core} if chooses else ALL

    def move() -> list[set[int]]:
        affinity.pin()
        before = of_this_thread()
        affinity.unpin()
        return [before, of_this_thread()]

    assert background(move).result(PATIENCE) == [shared, ALL if unpins else shared]
    assert of_this_thread() == ALL  # only the thread that asked for it was moved


@several_cores
def test_the_servers_of_a_process_draw_the_same_core():
    assert len({Affinity("one", lock_bound=True).core for _ in range(20)}) == 1


FORKING = """
import os
from echoserver.serving.affinity import Affinity

def drawn():
    first, second = (Affinity("one", lock_bound=True).core for _ in range(2))
    assert first == second
    return first

for _ in range(24):
    child = os.fork()
    if not child:
        os._exit(drawn())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@several_cores
def test_forked_processes_draw_cores_of_their_own():
    """The children of one process, as under a supervisor. That all 24 have the same is as good as impossible."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=True
    )
    cores = [int(line) for line in done.stdout.split()]
    assert len(cores) == 24
    assert 1 < len(set(cores)) <= len(ALL)
    assert set(cores) <= ALL


@several_cores
def test_without_the_interpreters_lock_auto_is_all(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not has_gil()
    assert Affinity("auto", lock_bound=True).core is None
    assert Affinity("one", lock_bound=True).core is not None


@several_cores
@pytest.mark.parametrize("name", ["_is_gil_enabled", None])
def test_with_the_interpreters_lock_auto_is_one(monkeypatch, name):
    """Before Python 3.13 there is no way to ask, and always a lock."""
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    if name:
        monkeypatch.setattr(sys, name, lambda: True, raising=False)
    assert has_gil()
    assert Affinity("auto", lock_bound=True).core is not None


def test_it_is_one_of_those_that_are_allowed(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    assert Affinity("one", lock_bound=True).core == 3


def test_where_no_thread_can_choose(serve, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert Affinity("auto", lock_bound=True).core is None
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


class Told(Affinity):
    """Notes what a connection asks for."""

    def __init__(self) -> None:
        super().__init__("all", lock_bound=True)
        self.asked: list[str] = []

    def pin(self) -> None:
        self.asked.append("pin")

    def unpin(self) -> None:
        self.asked.append("unpin")


@pytest.mark.parametrize(
    ("length", "breaks", "asked"),
    [
        (SMALL_BYTES - 1, False, []),
        (SMALL_BYTES, False, ["unpin", "pin"]),
        (SMALL_BYTES, True, ["unpin", "pin"]),
    ],
)
def test_bulk_data_unpins_its_thread_until_the_connection_ends(length, breaks, asked, monkeypatch):
    def break_off(_: BlockingDriver) -> bool:
        raise ConnectionResetError

    served, peer = tcp_pair()
    with served, peer:
        connection = make_connection(served)
        peer.send(bytes(length))
        wait_arrived(connection, length)
        peer.finish()
        if breaks:  # right after it was unpinned
            monkeypatch.setattr(BlockingDriver, "_splice_back", break_off)
        cores = Told()
        BlockingDriver(connection).serve(ReceiveBuffer(), cores)
        assert connection.reason is (CloseReason.RESET if breaks else CloseReason.EOF)
        assert cores.asked == asked


def test_short_messages_bring_a_thread_back_that_moved_bulk_data(background):
    served, peer = tcp_pair()
    with served, peer:
        connection = make_connection(served)
        bulk = bytes(SMALL_BYTES)
        peer.send(bulk)
        wait_arrived(connection, len(bulk))
        cores = Told()
        ended = background(BlockingDriver(connection).serve, ReceiveBuffer(), cores)
        assert peer.read(len(bulk)) == bulk
        for _ in range(63):
            assert peer.exchange(b"short") == b"short"
        assert cores.asked == ["unpin"]
        assert peer.exchange(b"short") == b"short"
        peer.finish()
        ended.result(PATIENCE)
        assert connection.reason is CloseReason.EOF
        assert cores.asked == ["unpin", "pin"]


@several_cores
@pytest.mark.parametrize(
    ("handler", "mode", "may_share"),
    [
        ("echo", ("--mode", "threads"), True),
        ("upper", ("--mode", "threads"), True),
        ("os:fsencode", ("--mode", "threads"), False),  # nobody has said of it that it never blocks
        ("echo", ("--mode", "workers"), False),  # one thread serves: where it runs is the kernel's to say
        ("echo", ("--mode", "workers", "--dispatch", "queue"), True),
        ("os:fsencode", ("--mode", "workers"), False),
    ],
)
def test_what_auto_is(handler, mode, may_share):
    """Without the interpreter's lock it is never one core."""
    with Service("--handler", handler, *mode) as service, Peer(service.address) as peer:
        assert peer.exchange(b"HELLO") == b"HELLO"
        tasks = os.listdir(f"/proc/{service.process.pid}/task")
        assert any(len(os.sched_getaffinity(int(task))) == 1 for task in tasks) == (may_share and has_gil())
