"""Thousands of threads in one interpreter: what is set for them, and that it is set where it should be."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from server.kit import PATIENCE
from support import ROOT, Service

SHOW = "import sys, threading; print(sys.getswitchinterval(), threading.stack_size())"


def settings_after(count: int, before: str = "") -> tuple[float, int]:
    """Return the switch interval and the stack size of an interpreter that was made ready for so many threads."""
    ready = f"from echoserver.interpreter import make_ready_for_threads; make_ready_for_threads({count})"
    code = "; ".join(filter(None, ["import sys", before, ready, SHOW]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    interval, stack = done.stdout.split()
    return float(interval), int(stack)


@pytest.mark.parametrize(("count", "interval"), [(0, 0.005), (1000, 0.005), (2000, 0.055), (9000, 0.405)])
def test_the_switch_interval_grows_with_the_threads_and_never_shrinks(count, interval):
    assert settings_after(count) == (pytest.approx(interval, rel=1e-3), 4 * 1024 * 1024)


def test_an_interval_that_was_set_before_grows_too():
    assert settings_after(2000, "sys.setswitchinterval(0.1)")[0] == pytest.approx(0.15, rel=1e-3)


def test_an_embedding_program_keeps_its_own(serve, connect):
    before = sys.getswitchinterval()
    server = serve(max_connections=9000)
    assert connect(server).exchange(b"x") == b"x"
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_no_peer_overflows_the_stack_of_a_handler(tmp_path, mode):
    """A crash of the interpreter would end every connection. The handler's own error ends one."""
    (tmp_path / "nested.py").write_text(
        "import json\n\ndef nested(data):\n    return repr(json.loads(data)).encode()\n"
    )
    options = ("--handler", "nested:nested", "--mode", mode)
    with Service(*options, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)])) as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(b"[" * 60_000)
            assert peer.recv(1) == b""
        ended = service.wait_for("connection ended")
        assert ended["reason"] == "handler"
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(b"[[1]]")
            assert peer.recv(100) == b"[[1]]"


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_at_once_are_all_answered(many_files):
    """Each on a thread of its own, and each sends before the first reads."""
    count = 2000
    with Service("--max-connections", count) as service, ExitStack() as open_peers, select.epoll() as poll:
        waiting = {}
        for _ in range(count):
            peer = open_peers.enter_context(socket.create_connection(service.address, PATIENCE))
            poll.register(peer, select.EPOLLIN)
            waiting[peer.fileno()] = peer
        for peer in waiting.values():
            peer.send(b"now")
        while waiting:
            events = poll.poll(PATIENCE)
            assert events, f"{len(waiting)} have no answer"
            for descriptor, _ in events:
                assert waiting.pop(descriptor).recv(10) == b"now"
                poll.unregister(descriptor)
