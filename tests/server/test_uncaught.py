"""What a handler's own thread or finaliser raises: one event of the log, whose text can't pass for another line."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

import pytest

from echoserver.observe.logs import LogWriter
from echoserver.process.uncaught import uncaught_errors_to
from server.command_kit import connected, exchange
from support import PATIENCE, Service

HANDLERS = r"""
import threading

class Dying:
    def __del__(self):
        raise ValueError('dying\n{"event": "forged"}\x1b[2J')

    def __repr__(self):
        raise RuntimeError("no text")

def fail():
    raise ValueError('failed\n{"event": "forged"}\x1b[2J')

def handler(data: bytes) -> bytes:
    thread = threading.Thread(target=fail, name="mine\x1b[2J")
    thread.start()
    thread.join()
    Dying()
    return data
"""


def test_the_command_logs_them(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    with Service("--handler", "handlers:handler", cwd=tmp_path) as service:
        with connected(service) as peer:
            assert exchange(peer, b"go") == b"go"
        uncaught = service.wait_for("uncaught exception in a thread")
        ignored = service.wait_for("exception ignored")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
        assert all(line.isprintable() and line.startswith("{") for line in service.lines)
        assert "forged" not in [event["event"] for event in service.events]
    assert (uncaught["level"], uncaught["thread"]) == ("error", "mine\x1b[2J")
    assert uncaught["exception"].endswith('ValueError: failed\n{"event": "forged"}\x1b[2J')
    assert (ignored["level"], ignored["thread"]) == ("error", "conn-1")
    assert "Dying.__del__" in ignored["source"]
    assert ignored["exception"].endswith('ValueError: dying\n{"event": "forged"}\x1b[2J')


@pytest.fixture
def log_path(tmp_path):
    return tmp_path / "log"


def test_the_hooks_are_restored_and_system_exit_is_silent(log_path):
    before = threading.excepthook, sys.unraisablehook
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT)
    writer = LogWriter(descriptor, "debug", "json")
    posted = []
    with uncaught_errors_to(writer.logger, posted.append):
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join(PATIENCE)
    assert (threading.excepthook, sys.unraisablehook) == before
    assert writer.close(PATIENCE)
    os.close(descriptor)
    assert [json.loads(line) for line in log_path.read_text().splitlines()] == []
    assert posted == []


def test_a_finaliser_that_runs_while_its_thread_logs_holds_nothing_up(log_path):
    # Garbage may be collected anywhere, for example while this thread holds the lock of the log's queue.
    class Dying:
        def __del__(self) -> None:
            raise ValueError("dying")

    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT)
    writer = LogWriter(descriptor, "debug", "json")
    posted = []
    with uncaught_errors_to(writer.logger, posted.append), writer._queue.mutex:
        Dying()
    (error,) = posted
    error.log(writer.logger)
    assert writer.close(PATIENCE)
    os.close(descriptor)
    (line,) = map(json.loads, log_path.read_text().splitlines())
    assert line["exception"].endswith("ValueError: dying")
