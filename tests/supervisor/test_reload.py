"""A reload: the next generation of processes takes over, and no connection notices."""

from __future__ import annotations

import os
import signal
import time

import pytest
import tomli_w

from supervisor.kit import Crew, exists, needs_epoll, swap, wait_until
from support import Program

pytestmark = needs_epoll
MODES = ["threads", "workers"]


def write(path, **options):
    options = {"log_format": "json", "port": 0, "processes": 2, **options}
    path.write_text(tomli_w.dumps({name: value for name, value in options.items() if value is not None}))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "echo.toml"
    write(path)
    return path


class FromFile(Crew):
    """Like `Crew`, with everything in a file."""

    def __init__(self, file, cwd):
        Program.__init__(self, "serve", "--config", file, cwd=cwd)
        try:
            self.wait_for("listening")
        except BaseException:
            self.__exit__()
            raise


@pytest.mark.parametrize("mode", MODES)
def test_open_connections_go_on_and_new_ones_get_the_new_configuration(tmp_path, file, mode):
    (tmp_path / "shout.py").write_text("def feed(data):\n    return data.upper()\n")
    write(file, mode=mode, handler="shout:feed")
    with FromFile(file, tmp_path) as crew:
        first = crew.workers
        with crew.connect() as old:
            assert swap(old, b"hello") == b"HELLO"
            (tmp_path / "shout.py").write_text("def feed(data):\n    return data.swapcase()[::-1]\n")
            write(file, processes=3, mode=mode, handler="shout:feed", idle_timeout="7m")
            line = crew.reload()
            assert (line["event"], line["generation"], line["processes"]) == ("reloaded", 2, 3)
            assert line["changed"] == ["processes", "idle_timeout"]
            with crew.connect() as new:
                assert swap(new, b"Hello") == b"OLLEh", "the code of the handler is loaded anew"
            assert swap(old, b"Hello") == b"HELLO", "the old process goes on with the code that it has"
            stats = crew.stats()
            assert stats["accepted"] == 2
            assert (stats["reloads"], stats["failed_reloads"], stats["deaths"]) == (1, 0, {})
        crew.wait_for("process retired")
        wait_until(lambda: len(crew.workers) == 3)
        assert not set(first.values()) & set(crew.workers.values())


def test_what_is_left_at_the_end_of_the_time_is_answered_and_ends_as_retired(tmp_path, file):
    write(file, retire_timeout="200ms")
    with FromFile(file, tmp_path) as crew, crew.connect() as old:
        assert swap(old, b"hello") == b"hello"
        assert crew.reload()["event"] == "reloaded"
        assert old.recv(1) == b""
        assert crew.wait_for("connection ended")["reason"] == "retired"
        crew.wait_for("process retired")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"port": 1}, "port: can't change from tcp://"),
        ({"port": None, "listen": ["unix:/tmp/nowhere.sock"]}, "listen: can't change from tcp://"),
        ({"processes": 1}, "processes: can't change to 1"),
        ({"handler": "nowhere:nothing"}, "nowhere"),
        ({"handler": "dies:feed"}, "exit code 3"),
        ({"idle_timeout": "soon"}, "idle_timeout"),
        ({"max_connections": 10_000_000}, "max_connections"),
        ({"tls_cert": "nowhere.pem", "fault": ["nonsense"]}, "fault"),
    ],
)
def test_what_cannot_be_loaded_leaves_the_old_processes_serving(tmp_path, file, change, reason):
    (tmp_path / "dies.py").write_text("import os\nos._exit(3)\n")
    with FromFile(file, tmp_path) as crew, crew.connect() as old:
        assert swap(old, b"hello") == b"hello"
        before = crew.workers
        write(file, **change)
        line = crew.reload()
        assert line["event"] == "not reloaded"
        assert reason in line["reason"]
        assert swap(old, b"still here") == b"still here"
        wait_until(lambda: crew.workers == before)  # those that were given up have gone
        with crew.connect() as new:
            assert swap(new, b"new") == b"new"
        write(file)
        assert crew.reload()["event"] == "reloaded"
        crew.send_signal(signal.SIGTERM)
        assert old.recv(1) == b""
        assert crew.finish() == 0
    assert (crew.events[-1]["reloads"], crew.events[-1]["failed_reloads"]) == (1, 1)
    assert [line for line in crew.lines if not line.startswith("{")] == []


def test_a_handler_that_takes_long_to_load_holds_up_nobody_and_may_be_given_up(tmp_path, file):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    with FromFile(file, tmp_path) as crew:
        write(file, handler="slow:feed")
        crew.send_signal(signal.SIGHUP)
        wait_until(lambda: len(crew.workers) == 4)
        with crew.connect() as peer:
            assert swap(peer, b"hello") == b"hello"
        crew.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert crew.finish() == 0
        assert time.monotonic() - begun < 5


def test_many_reloads_in_a_row_end_with_one_generation(tmp_path, file):
    with FromFile(file, tmp_path) as crew:
        for _ in range(10):
            crew.send_signal(signal.SIGHUP)
        crew.wait_for("reloaded")
        wait_until(lambda: len(crew.workers) == 2)
        with crew.connect() as peer:
            assert swap(peer, b"hello") == b"hello"
        assert crew.reload()["event"] == "reloaded"


def test_a_process_that_dies_while_it_retires_is_not_replaced(tmp_path, file):
    with FromFile(file, tmp_path) as crew:
        peers = [crew.connect() for _ in range(8)]
        for peer in peers:
            assert swap(peer, b"hello") == b"hello"
        old = crew.workers
        assert crew.reload()["event"] == "reloaded"
        for pid in old.values():
            os.kill(pid, signal.SIGKILL)
        lost = crew.wait_for("process died")["lost"] + crew.wait_for("process died")["lost"]
        assert lost == 8
        assert len(crew.workers) == 2
        assert crew.stats()["closed"]["lost"] == 8
        for peer in peers:
            peer.close()


# -- upgrade


@pytest.mark.parametrize("mode", MODES)
def test_an_upgrade_keeps_the_process_id_and_the_connections(tmp_path, file, mode):
    write(file, mode=mode)
    with FromFile(file, tmp_path) as crew, crew.connect() as old:
        assert swap(old, b"hello") == b"hello"
        before = crew.workers
        crew.send_signal(signal.SIGUSR2)
        crew.wait_for("upgrading")
        assert crew.wait_for("upgraded")["generation"] == 2
        assert swap(old, b"still here") == b"still here"
        with crew.connect() as new:
            assert swap(new, b"new") == b"new"
        stats = crew.stats()
        assert (stats["accepted"], stats["active"] + stats["closed"]["eof"]) == (2, 2)
        old.close()
        wait_until(lambda: not any(map(exists, before.values())))
        assert crew.reload()["event"] == "reloaded"
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0
    assert crew.events[-1]["accepted"] == 2


@pytest.mark.parametrize(
    ("change", "reason"), [({"handler": "nowhere:nothing"}, "nowhere"), ({"port": 1}, "can't change from tcp://")]
)
def test_an_upgrade_that_cannot_work_changes_nothing(tmp_path, file, change, reason):
    with FromFile(file, tmp_path) as crew, crew.connect() as old:
        assert swap(old, b"hello") == b"hello"
        write(file, **change)
        crew.send_signal(signal.SIGUSR2)
        assert reason in crew.wait_for("not upgraded")["reason"]
        assert swap(old, b"still here") == b"still here"
        with crew.connect() as new:
            assert swap(new, b"new") == b"new"
