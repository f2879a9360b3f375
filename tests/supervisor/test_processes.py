"""Several processes that serve on one listener: who they are, how peers are spread, and how they end."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from supervisor.kit import Crew, exists, needs_epoll, swap, wait_until
from support import PATIENCE, run

pytestmark = needs_epoll
WAYS = [("--mode", "threads"), ("--mode", "workers"), ("--mode", "workers", "--dispatch", "queue")]


@pytest.fixture(params=WAYS, ids=["threads", "inline", "queue"])
def way(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


def test_processes_have_names_and_each_line_says_which_it_is_from(way):
    with Crew(*way) as crew:
        assert set(crew.workers) == {"worker 1", "worker 2"}
        assert Path(f"/proc/{crew.process.pid}/cmdline").read_text().startswith("echoserver: supervisor\0")
        with crew.connect() as peer:
            assert swap(peer, b"hello") == b"hello"
        crew.wait_for("connection ended")
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0
    said_by = {line["event"]: line["process"] for line in crew.events}
    assert said_by["listening"] == said_by["stopped"] == "supervisor"
    assert said_by["connection ended"] in ("worker 1", "worker 2")
    assert [line["event"] for line in crew.events].count("listening") == 1


def test_zero_stands_for_one_for_each_usable_core():
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        with pytest.raises(AssertionError, match="no line"), Crew(processes=0) as crew:
            crew.wait_for("listening", processes=1)
        return
    with Crew(processes=0) as crew:
        assert len(crew.workers) == cores


def test_peers_that_come_one_by_one_are_spread(way):
    with Crew(*way, "--log-level", "debug", processes=4) as crew:
        peers = []
        for _ in range(400):
            peer = crew.connect()
            assert swap(peer, b"?") == b"?"
            peers.append(peer)
        for peer in peers:
            peer.close()
        served = Counter(crew.wait_for("connection ended")["process"] for _ in peers)
        assert sum(served.values()) == 400
        assert max(served.values()) <= 150, served
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0


def test_a_drain_answers_what_has_arrived_in_all_processes(way):
    with Crew(*way) as crew:
        peers = [crew.connect() for _ in range(8)]
        for peer in peers:
            assert swap(peer, b"hello") == b"hello"
        crew.send_signal(signal.SIGTERM)
        for peer in peers:
            assert peer.recv(1) == b""
            peer.close()
        assert crew.finish() == 0
    last = crew.events[-1]
    assert (last["event"], last["cut"], last["processes"]) == ("stopped", [], 0)
    assert (last["accepted"], last["closed"]["drained"]) == (8, 8)


def test_peers_that_wait_in_the_kernel_are_answered_when_the_server_stops():
    with Crew("--max-connections", 2) as crew:
        inside = [crew.connect() for _ in range(2)]
        for peer in inside:
            assert swap(peer, b"in") == b"in"
        crew.send_signal(signal.SIGTERM)
        for peer in inside:
            assert peer.recv(1) == b""
            peer.close()
        assert crew.finish() == 0


def test_a_second_signal_cuts_all_processes(tmp_path):
    (tmp_path / "stuck.py").write_text("import time\ndef feed(data):\n    time.sleep(60)\n    return data\n")
    with Crew("--handler", "stuck:feed", "--drain-timeout", "50s", cwd=tmp_path) as crew:
        peers = [crew.connect() for _ in range(4)]
        for peer in peers:
            peer.sendall(b"hello")
        wait_until(lambda: crew.stats()["bytes_in"] == 20)
        crew.send_signal(signal.SIGTERM)
        crew.wait_for("draining")
        crew.send_signal(signal.SIGTERM)
        crew.wait_for("cutting")
        assert crew.finish() == 0
        for peer in peers:
            peer.close()
    assert len(crew.events[-1]["cut"]) == 4
    assert crew.events[-1]["closed"]["cut"] == 4


def test_interrupting_the_terminal_drains_and_does_not_cut():
    """A terminal sends SIGINT to all processes of the group; only the supervisor acts on it."""
    with Crew() as crew, crew.connect() as peer:
        assert swap(peer, b"hello") == b"hello"
        for pid in crew.workers.values():
            os.kill(pid, signal.SIGINT)
        crew.send_signal(signal.SIGINT)
        assert peer.recv(1) == b""
        assert crew.finish() == 0
    assert crew.events[-1]["closed"]["drained"] == 1


def test_the_death_of_the_supervisor_ends_the_workers():
    with Crew() as crew, crew.connect() as peer:
        assert swap(peer, b"hello") == b"hello"
        pids = list(crew.workers.values())
        crew.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(map(exists, pids)), seconds=2)
        assert peer.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            crew.connect()


def test_a_unix_socket_is_shared_and_its_file_removed_at_the_end(tmp_path, way):
    path = tmp_path / "echo.sock"
    with Crew("--listen", f"unix:{path}", *way) as crew:
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(PATIENCE)
                peer.connect(str(path))
                assert swap(peer, b"hello") == b"hello"
        assert crew.reload()["event"] == "reloaded"
        assert path.exists()
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0
    assert not path.exists()


def test_a_handler_that_is_refused_is_refused_in_one_line_before_anything_serves():
    done = run("serve", "--port", 0, "--processes", 2, "--handler", "nowhere:nothing")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_refused():
    with Crew() as crew:
        done = run("serve", "--port", crew.address[1], "--processes", 2)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_time_to_retire_has_no_effect_in_one_process():
    done = run("serve", "--port", 0, "--retire-timeout", "5s")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--retire-timeout: has no effect without --processes" in done.stderr


def test_the_supervisor_has_one_thread_and_loads_no_handler(tmp_path):
    (tmp_path / "who.py").write_text(
        "import os\nopen(f'loaded-by-{os.getpid()}', 'w').close()\ndef feed(data):\n    return data\n"
    )
    with Crew("--handler", "who:feed", cwd=tmp_path) as crew:
        assert swap_once(crew, b"hello") == b"hello"
        loaded_by = {int(path.name.removeprefix("loaded-by-")) for path in tmp_path.glob("loaded-by-*")}
        assert loaded_by == set(crew.workers.values())
        assert os.listdir(f"/proc/{crew.process.pid}/task") == [str(crew.process.pid)]


def swap_once(crew: Crew, data: bytes) -> bytes:
    with crew.connect() as peer:
        return swap(peer, data)


@pytest.mark.parametrize("signals", [[signal.SIGHUP], [signal.SIGHUP, signal.SIGTERM]])
def test_the_death_of_the_supervisor_ends_workers_that_retire_or_drain(signals):
    with Crew() as crew, crew.connect() as peer:
        assert swap(peer, b"hello") == b"hello"
        for number in signals:
            crew.send_signal(number)
            crew.wait_for("reloaded" if number == signal.SIGHUP else "draining")
        pids = list(crew.workers.values())
        crew.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(map(exists, pids)), seconds=2)
