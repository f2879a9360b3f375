"""What the log says about a connection, with a connection that no server made."""

from __future__ import annotations

import errno
import sys
import threading
from dataclasses import dataclass, field
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from echoserver.errors import OpeningError
from echoserver.net.tls_facts import TlsInfo
from echoserver.observe.connection_log import log_end, log_stuck
from echoserver.observe.metrics import CloseReason, ConnectionStats


@dataclass
class Ended:
    reason: CloseReason = CloseReason.EOF
    error: BaseException | None = None
    number: int = 7
    peer: str = "[::1]:5000"
    proxied_by: str | None = None
    tls: TlsInfo | None = None
    endpoint: str = "tcp://[::]:9000"
    served_by: int = field(default_factory=threading.get_ident)
    opened_at: float = field(default_factory=monotonic)
    stats: ConnectionStats = field(default_factory=ConnectionStats)
    transport: Any = field(default_factory=lambda: SimpleNamespace(log_facts={}))


def logged(log) -> tuple[str, dict]:
    (line,) = log.lines
    return line["level"], line


class Log:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[dict] = []

    def __getattr__(self, level: str):
        return lambda event, **facts: self.lines.append({"level": level, "event": event, **facts})


@pytest.mark.parametrize(("bytes_in", "level"), [(0, "debug"), (5, "info")])
def test_an_end_is_worth_a_line_at_info_if_a_byte_arrived(bytes_in, level):
    connection, log = Ended(), Log()
    connection.stats.bytes_in = bytes_in
    log_end(log, connection)
    said, line = logged(log)
    assert said == level
    assert (line["id"], line["peer"], line["bytes_in"], line["reason"]) == (7, "[::1]:5000", bytes_in, "eof")
    assert line["endpoint"] == "tcp://[::]:9000"


def test_an_error_of_the_network_is_shown_by_its_name():
    log = Log()
    log_end(log, Ended(CloseReason.RESET, OSError(errno.ECONNRESET, "whatever")))
    assert logged(log)[1]["error"] == "ECONNRESET"


@pytest.mark.parametrize(("why", "level"), [("not a header \x07", "info"), ("", "debug")])
def test_why_a_connection_was_refused_is_worth_a_line_without_a_traceback(why, level):
    log = Log()
    log_end(log, Ended(CloseReason.PROXY, OpeningError(why), proxied_by="192.0.2.7:80"))
    said, line = logged(log)
    assert (said, line.get("error", ""), line["proxy"]) == (level, why.replace("\x07", r"\x07"), "192.0.2.7:80")
    assert "exc_info" not in line


@pytest.mark.parametrize("reason", [CloseReason.HANDLER, CloseReason.KILLED])
def test_any_other_error_comes_with_its_traceback(reason):
    log, error = Log(), OSError(errno.ECONNRESET, "raised by the handler")
    log_end(log, Ended(reason, error))
    level, line = logged(log)
    assert (level, line["exc_info"]) == ("error", error)


def test_a_stuck_handler_is_logged_with_its_threads_stack():
    log = Log()
    log_stuck(log, Ended(), "mine")
    level, line = logged(log)
    assert (level, line["handler"], line["thread"]) == ("error", "mine", threading.current_thread().name)
    assert line["endpoint"] == "tcp://[::]:9000"
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        assert "test_a_stuck_handler_is_logged_with_its_threads_stack" in line["stack"]


def test_without_the_interpreter_lock_no_other_threads_stack_is_read(monkeypatch):
    def crash() -> None:
        raise AssertionError("another thread's frames were read while it runs")

    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.setattr(sys, "_current_frames", crash)
    log = Log()
    log_stuck(log, Ended(), "mine")
    assert logged(log)[1]["stack"].startswith("not available: ")
