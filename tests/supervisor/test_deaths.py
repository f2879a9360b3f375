"""The death of a worker process: it costs its own connections, and is made good and counted."""

from __future__ import annotations

import os
import signal
from time import monotonic

import pytest

from supervisor.kit import Crew, needs_epoll, swap, wait_until
from support import run

pytestmark = needs_epoll

DEADLY = """
import os, signal

def feed(data: bytes) -> bytes:
    if data == b"exit":
        os._exit(7)
    if data == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    return data
"""


@pytest.mark.parametrize("mode", ["threads", "workers"])
@pytest.mark.parametrize(("word", "cause"), [(b"exit", "exit code 7"), (b"kill", "SIGKILL"), (b"segv", "SIGSEGV")])
def test_a_process_that_dies_is_replaced_and_harms_no_other(tmp_path, mode, word, cause):
    (tmp_path / "deadly.py").write_text(DEADLY)
    with Crew("--handler", "deadly:feed", "--mode", mode, cwd=tmp_path) as crew:
        before = crew.workers
        peers = [crew.connect() for _ in range(60)]
        for peer in peers:
            assert swap(peer, b"hello") == b"hello"
        peers[0].sendall(word)
        died = crew.wait_for("process died", cause=cause)
        begun = monotonic()
        wait_until(lambda: len(crew.workers) == 2)
        assert monotonic() - begun < 1
        assert died["pid"] == before[died["worker"]]
        harmed = 0
        for peer in peers:
            try:
                assert swap(peer, b"still here") == b"still here"
            except (ConnectionError, AssertionError):
                harmed += 1
        assert harmed == died["lost"] < 60
        stats = crew.stats()
        assert (stats["accepted"], stats["active"]) == (60, 60 - harmed)
        assert stats["closed"]["lost"] == harmed
        assert stats["deaths"] == {cause: 1}
        with crew.connect() as peer:
            assert swap(peer, b"new") == b"new"
        for peer in peers:
            peer.close()
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0
    last = crew.events[-1]
    assert last["deaths"] == {cause: 1}
    assert last["accepted"] == sum(last["closed"].values()) == 61


def test_a_process_that_is_asked_to_end_from_outside_drains_and_is_replaced():
    with Crew() as crew:
        peers = [crew.connect() for _ in range(6)]
        for peer in peers:
            assert swap(peer, b"hello") == b"hello"
        name, pid = next(iter(crew.workers.items()))
        os.kill(pid, signal.SIGTERM)
        died = crew.wait_for("process died", worker=name)
        assert (died["cause"], died["lost"]) == ("exit code 0", 0)
        wait_until(lambda: len(crew.workers) == 2)
        for peer in peers:
            peer.close()


def test_processes_that_die_while_they_load_end_the_server(tmp_path):
    (tmp_path / "dies.py").write_text("import os\nos._exit(3)\n")
    begun = monotonic()
    done = run("serve", "--port", 0, "--processes", 2, "--handler", "dies:feed", "--log-format", "json", cwd=tmp_path)
    assert done.returncode == 1
    assert "no worker process comes up; the last one ended with exit code 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert monotonic() - begun < 15


def test_one_that_dies_at_once_again_and_again_is_replaced_later_and_later(tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    with Crew("--handler", "deadly:feed", cwd=tmp_path) as crew:
        for _ in range(6):
            with crew.connect() as peer:
                peer.sendall(b"exit")
                crew.wait_for("process died")
        wait_until(lambda: len(crew.workers) == 2)
        with crew.connect() as peer:
            assert swap(peer, b"hello") == b"hello"


def test_a_stopped_process_does_not_hold_up_the_others_nor_the_statistics():
    with Crew(processes=3) as crew:
        stopped = next(iter(crew.workers.values()))
        os.kill(stopped, signal.SIGSTOP)
        for _ in range(30):
            peer = crew.connect()
            peer.settimeout(0.5)
            try:
                assert swap(peer, b"hello") == b"hello"
            except TimeoutError:
                pass  # it had been taken by the process that has been stopped
            peer.close()
        crew.stats()
        os.kill(stopped, signal.SIGCONT)
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0
