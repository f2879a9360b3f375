"""How log lines look: JSON, lines for people, and an embedding program's own logging."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import select
import threading
from datetime import UTC, datetime, timedelta

import pytest

from echoserver.observe.embedded import library_logger
from echoserver.observe.logs import LogWriter
from server.log_kit import PATIENCE, Pipe, fail_with_local, one

ESCAPE = "\x1b"


@pytest.fixture
def json_log():
    with Pipe("json") as pipe:
        yield pipe


@pytest.fixture
def console_log():
    with Pipe("console") as pipe:
        yield pipe


# -- how lines look


def test_a_json_line_has_time_level_and_event_first(json_log):
    json_log.log.info("listening", port=9000, hosts=["a", "b"], ratio=0.5, yes=True, nothing=None)
    line = one(json_log.finish())
    fields = json.loads(line)
    assert list(fields) == ["timestamp", "level", "event", "port", "hosts", "ratio", "yes", "nothing"]
    moment = datetime.fromisoformat(fields.pop("timestamp"))
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert fields == {
        "level": "info",
        "event": "listening",
        "port": 9000,
        "hosts": ["a", "b"],
        "ratio": 0.5,
        "yes": True,
        "nothing": None,
    }


NASTY = "two\nlines\r\x1b[2J\x00 \u2028 \u202e \udc80 é"


def test_whatever_is_in_a_value_one_event_is_one_json_line(json_log):
    json_log.log.info("a\nb", peer=NASTY, raw=b"\n\x1b", thing=object())
    line = one(json_log.finish())
    assert line.isascii()
    assert line.isprintable()
    fields = json.loads(line)
    assert (fields["event"], fields["peer"]) == ("a\nb", NASTY)


def test_on_a_console_control_characters_are_escaped(console_log):
    console_log.log.info("a\nb", peer=NASTY, raw=b"\n\x1b", several=["x\ny"], table={"k\n": "v\n"}, short="\x1b[2J")
    line = one(console_log.finish())
    assert line.isprintable()
    assert r" a\nb " in line
    assert line.endswith(r" raw=b'\n\x1b' several=x\ny table=k\n:v\n short=\x1b[2J")


def test_a_console_line_has_the_facts_in_their_order(console_log):
    console_log.log.warning(
        "stats", second=2, first=1, closed={"eof": 3, "idle": 0, "cut": 1}, cut=[], names=["a", "b"]
    )
    line = one(console_log.finish())
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} \[warning *\] stats +second=2 first=1 closed=eof:3,cut:1 cut=- names=a,b", line
    )


def test_a_traceback_is_part_of_the_json_line(json_log):
    try:
        fail_with_local(None)
    except ValueError as error:
        json_log.log.error("connection ended", exc_info=error, id=7)
    fields = json.loads(one(json_log.finish()))
    assert (fields["event"], fields["id"]) == ("connection ended", 7)
    assert fields["exception"].startswith("Traceback (most recent call last):\n")
    assert fields["exception"].endswith("ValueError: two\nlines \x1b[31m")
    assert "in fail_with_local" in fields["exception"]


def test_a_traceback_stands_below_the_console_line(console_log):
    try:
        fail_with_local(None)
    except ValueError as error:
        console_log.log.error("connection ended", exc_info=error, id=7)
    first, *below = console_log.finish()
    assert first.endswith("id=7")
    assert below[0] == "Traceback (most recent call last):"
    assert below[-2:] == ["ValueError: two", r"lines \x1b[31m"]
    assert all(line.isprintable() for line in below)


def test_a_stack_stands_below_the_console_line(console_log):
    console_log.log.error("handler stuck", stack="  File one\n    call \x1b[2J\n", id=7)
    first, *below = console_log.finish()
    assert first.endswith("id=7")
    assert below == ["  File one", r"    call \x1b[2J", ""]


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_less_important_lines_are_left_out(level, events):
    with Pipe("json", level) as pipe:
        for name in ("debug", "info", "warning", "error"):
            getattr(pipe.log, name)(name)
        assert [json.loads(line)["event"] for line in pipe.finish()] == events


def test_lines_come_in_order_from_each_thread(json_log):
    def write(name: int) -> None:
        for number in range(500):
            json_log.log.info("line", name=name, number=number)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    found = [json.loads(line) for line in json_log.finish()]
    assert len(found) == 4000
    for name in range(8):
        assert [line["number"] for line in found if line["name"] == name] == list(range(500))


# -- terminals


def on_a_terminal(log_format: str) -> str:
    """Return what a log of one line looks like when its descriptor is a terminal."""
    master, slave = pty.openpty()
    try:
        writer = LogWriter(slave, "info", log_format)
        writer.logger.info("listening", port=9000)
        assert writer.close(PATIENCE)
        assert select.select([master], [], [], PATIENCE)[0]
        return os.read(master, 65536).decode()
    finally:
        os.close(slave)
        os.close(master)


def test_a_terminal_gets_lines_for_people_with_colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = on_a_terminal("auto")
    assert ESCAPE in shown
    assert "listening" in shown


@pytest.mark.parametrize("log_format", ["auto", "console"])
def test_no_color_is_honoured(log_format, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_a_terminal(log_format)
    assert ESCAPE not in shown
    assert re.search(r"\[info +\] listening +port=9000", shown)


def test_a_terminal_gets_json_where_asked_to():
    assert json.loads(on_a_terminal("json"))["port"] == 9000


def test_elsewhere_lines_are_json():
    with Pipe("auto") as pipe:
        pipe.log.info("listening")
        assert json.loads(one(pipe.finish()))["event"] == "listening"


def test_a_console_format_in_a_pipe_has_no_colours(console_log):
    console_log.log.error("boom")
    assert ESCAPE not in one(console_log.finish())


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_both_loggers_say_how_important_a_line_is(level):
    with Pipe() as pipe:
        for logger in (pipe.log, pipe.writer.patient_logger):
            getattr(logger, level)("line")
        assert [json.loads(line)["level"] for line in pipe.finish() if line] == [level, level]


# -- embedded


def test_an_embedded_server_logs_through_the_host_programs_logging(caplog):
    caplog.set_level(logging.INFO, "echoserver")
    log = library_logger()
    log.debug("not this")
    log.info("listening", address="127.0.0.1:9000", peer="a\nb")
    try:
        fail_with_local(None)
    except ValueError as error:
        log.error("connection ended", id=7, exc_info=error)
    first, second = caplog.records
    assert (first.name, first.levelname) == ("echoserver", "INFO")
    assert first.getMessage() == r"listening address=127.0.0.1:9000 peer=a\nb"
    assert second.getMessage() == "connection ended id=7"
    assert second.exc_info is not None
    assert second.exc_info[0] is ValueError


def test_an_embedded_server_logs_nothing_where_the_host_program_wants_nothing(caplog):
    caplog.set_level(logging.CRITICAL, "echoserver")
    library_logger().error("boom")
    assert caplog.records == []
