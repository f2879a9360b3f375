"""Running a server as a process, without the process: what each event brings about."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from echoserver import Server, ServerConfig
from echoserver.errors import BindError
from echoserver.observe.logs import LogWriter
from echoserver.process.notify import ServiceManager
from echoserver.process.run import run
from echoserver.process.signals import EventInbox

PATIENCE = 10.0


class Running:
    """A server under `run` in a thread, with its log in a file."""

    def __init__(self, server: Server, log_path) -> None:
        self.server = server
        self._path = log_path
        self._descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT)
        self._writer = LogWriter(self._descriptor, "info", "json")
        self.inbox = EventInbox()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            run(self.server, self._writer, self.inbox, ServiceManager({}), list, None)
        except BindError as error:
            self._failure = error

    def __enter__(self) -> Running:
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(0.1)
        self._thread.join(PATIENCE)
        self._writer.close(PATIENCE)
        os.close(self._descriptor)
        self.inbox.close()

    def finish(self) -> tuple[list[dict], BaseException | None]:
        """Wait for the end and return the log and the error."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._writer.close(PATIENCE)
        return [json.loads(line) for line in self._path.read_text().splitlines()], self._failure


@pytest.fixture
def running_server(tmp_path):
    def make(server: Server) -> Running:
        return Running(server, tmp_path / "log")

    return make


def test_a_server_that_can_not_go_on_is_drained_and_the_error_raised(running_server):
    class Failing(Server):
        def wait(self) -> None:
            raise BindError("cannot go on accepting: out of luck")

    with running_server(Failing(ServerConfig(port=0))) as running:
        log, failure = running.finish()
    assert [(line["event"], line.get("cause")) for line in log] == [("draining", "failure"), ("stopped", None)]
    assert str(failure) == "cannot go on accepting: out of luck"


def test_a_failure_that_comes_with_the_drain_is_raised_too(running_server):
    class FailingAtTheEnd(Server):
        def wait(self) -> None:
            super().wait()
            raise BindError("cannot go on accepting: out of luck")

    with running_server(FailingAtTheEnd(ServerConfig(port=0))) as running:
        running.inbox.post(signal.SIGTERM)
        log, failure = running.finish()
    assert [(line["event"], line.get("cause")) for line in log] == [("draining", "SIGTERM"), ("stopped", None)]
    assert str(failure) == "cannot go on accepting: out of luck"


def test_the_statistics_come_at_their_interval_and_do_not_stop_the_rest(running_server):
    class Impatient(Server):
        """Asks to stop once the statistics have been logged three times."""

        asked = 0

        def stats(self):
            Impatient.asked += 1
            if Impatient.asked == 3:
                running.inbox.post(signal.SIGINT)
            return super().stats()

    running = running_server(Impatient(ServerConfig(port=0, stats_interval=0.001)))
    with running:
        log, failure = running.finish()
    assert failure is None
    events = [line["event"] for line in log]
    assert events[:4] == ["stats", "stats", "stats", "draining"]
    assert events[-1] == "stopped"
    assert log[0]["accepted"] == log[0]["log_dropped"] == 0
