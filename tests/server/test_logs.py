"""The log: how lines look, and that no reader, disk or value makes it cost more than a line."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import pty
import re
import select
import threading
import weakref
from datetime import UTC, datetime, timedelta

import pytest

import echoserver.observe.logs
from echoserver.observe.logs import LogWriter, library_logger

PATIENCE = 10.0
ESCAPE = "\x1b"


class Pipe:
    """A pipe with a log writer at one end, whose other end the test reads or neglects."""

    def __init__(self, log_format: str = "json", level: str = "debug", **options: int) -> None:
        self.read_end, self.write_end = os.pipe()
        self.writer = LogWriter(self.write_end, level, log_format, **options)
        self.log = self.writer.logger

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_read_end()  # a writer that is stuck gets an error
        self.writer.close(PATIENCE)
        self.writer._thread.join(PATIENCE)
        if self.write_end >= 0:
            os.close(self.write_end)

    def clog(self) -> None:
        """Fill the pipe, with empty lines: from here on the writer waits for somebody to read."""
        os.set_blocking(self.write_end, False)
        try:
            while True:
                os.write(self.write_end, b"\n")
        except BlockingIOError:
            os.set_blocking(self.write_end, True)

    def close_read_end(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    def finish(self) -> list[str]:
        """End the writer, reading along, and return all its lines."""
        ended = threading.Thread(target=self._end_writer)
        ended.start()
        with os.fdopen(self.read_end, encoding="utf-8", newline="\n") as file:
            self.read_end = -1
            lines = file.read().splitlines()
        ended.join(PATIENCE)
        return lines

    def _end_writer(self) -> None:
        assert self.writer.close(PATIENCE)
        os.close(self.write_end)
        self.write_end = -1


@pytest.fixture
def json_log():
    with Pipe("json") as pipe:
        yield pipe


@pytest.fixture
def console_log():
    with Pipe("console") as pipe:
        yield pipe


@pytest.fixture
def lost(monkeypatch):
    """Count lost lines in a way that a test can wait for: `lost.acquire(timeout=...)` once for each."""
    semaphore = threading.Semaphore(0)
    really = LogWriter._lost

    def lose(writer: LogWriter, count: int) -> None:
        really(writer, count)
        for _ in range(count):
            semaphore.release()

    monkeypatch.setattr(LogWriter, "_lost", lose)
    return semaphore


def one(lines: list[str]) -> str:
    (line,) = lines
    return line


def fail_with_local(held: object) -> None:
    raise ValueError("two\nlines \x1b[31m")


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


# -- a reader that stops, a pipe that closes, a disk that is full


def test_a_reader_that_stops_costs_lines_and_blocks_nobody(monkeypatch):
    writing, write = threading.Event(), LogWriter._write
    monkeypatch.setattr(LogWriter, "_write", lambda writer, events: writing.set() or write(writer, events))
    with Pipe("json", queue_lines=10) as pipe:
        pipe.clog()
        pipe.log.info("line", number=0)
        assert writing.wait(PATIENCE)  # or it would take some of the others along
        for number in range(1, 100):
            pipe.log.info("line", number=number)
        dropped = pipe.writer.dropped
        assert dropped >= 89, "ten wait in the queue, and one with the writer"
        found = [json.loads(line) for line in pipe.finish() if line]
    written = [line["number"] for line in found if line["event"] == "line"]
    reports = [line["lines"] for line in found if line["event"] == "log lines dropped"]
    assert written == sorted(set(written)), "what is written is in order, and none twice"
    assert len(written) + dropped == 100
    assert sum(reports) == dropped


def test_a_closed_pipe_costs_lines_and_no_more(json_log, lost):
    json_log.close_read_end()
    for _ in range(5):
        json_log.log.info("line")
        assert lost.acquire(timeout=PATIENCE)
    assert json_log.writer.dropped == 5
    assert json_log.writer.close(PATIENCE)


def test_a_full_disk_costs_lines_which_are_reported_when_there_is_room(lost):
    read_end, write_end = os.pipe()
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = LogWriter(descriptor, "info", "json")
        for _ in range(5):
            writer.logger.info("line")
            assert lost.acquire(timeout=PATIENCE)
        assert writer.dropped == 5
        os.dup2(write_end, descriptor)
        writer.logger.info("room again")
        assert writer.close(PATIENCE)
        found = [json.loads(line) for line in os.read(read_end, 65536).splitlines()]
    finally:
        for number in (read_end, write_end, descriptor):
            os.close(number)
    assert [line["event"] for line in found] == ["room again", "log lines dropped"]
    assert found[1]["lines"] == 5
    assert found[1]["level"] == "warning"


def test_a_batch_that_is_written_in_part_loses_the_rest(monkeypatch):
    """A line that got there in part is lost too: nobody can read it."""
    written = []

    def write(_descriptor: int, text: memoryview) -> int:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(bytes(text[:-5]))
        return len(text) - 5

    held, entered = threading.Event(), threading.Event()
    next_batch = LogWriter._next_batch

    def late(writer: LogWriter):
        entered.set()
        assert held.wait(PATIENCE)
        return next_batch(writer)

    monkeypatch.setattr(LogWriter, "_next_batch", late)
    writer = LogWriter(2, "info", "json")
    assert entered.wait(PATIENCE)
    for _ in range(4):
        writer.logger.info("line")
    with monkeypatch.context() as patched:
        patched.setattr(echoserver.observe.logs.os, "write", write)
        held.set()
        assert writer.close(PATIENCE)
    assert writer.dropped == 1
    assert written[0].count(b"\n") == 3


def test_lines_go_out_whole_in_pieces_that_a_pipe_keeps_together(monkeypatch):
    pieces = []

    def write(_descriptor: int, text: memoryview) -> int:
        pieces.append(bytes(text))
        return len(text)

    writer = LogWriter(2, "info", "json")
    events = [
        {"event": "line", "level": "info", "timestamp": 0.0, "filler": "x" * size} for size in [50] * 200 + [9000]
    ]
    with monkeypatch.context() as patched:
        patched.setattr(echoserver.observe.logs.os, "write", write)
        assert writer._write(events) == len(events)
    assert writer.close(PATIENCE)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(len(piece) <= select.PIPE_BUF for piece in pieces[:-1])
    assert len(pieces) < 10
    assert pieces[-1].count(b"\n") == 1


def test_after_half_a_line_the_next_one_begins_on_a_line_of_its_own(monkeypatch):
    written = bytearray()
    room = [10, 0, 1_000_000]

    def write(_descriptor: int, text: memoryview) -> int:
        if not room[0]:
            room.pop(0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(text[: room[0]])
        written.extend(taken)
        if room[0] < len(text):
            room.pop(0)
        return len(taken)

    writer = LogWriter(2, "info", "json")
    with monkeypatch.context() as patched:
        patched.setattr(echoserver.observe.logs.os, "write", write)
        got = [
            writer._write([{"event": name, "level": "info", "timestamp": 0.0}]) for name in ("first", "second", "third")
        ]
    assert writer.close(PATIENCE)
    assert got == [0, 1, 1]
    torn, *whole = written.decode().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["event"] for line in whole] == ["second", "third"]


def test_a_value_that_cannot_be_shown_costs_its_line_alone(json_log, lost):
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    json_log.log.info("bad", value=Broken())
    assert lost.acquire(timeout=PATIENCE)
    json_log.log.info("good")
    events = [json.loads(line)["event"] for line in json_log.finish()]
    assert [event for event in events if event != "log lines dropped"] == ["good"]


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(json_log):
    os.set_blocking(json_log.write_end, False)
    for number in range(200):
        json_log.log.info("line", number=number, filler="x" * 2000)  # more than a pipe holds
    assert [json.loads(line)["number"] for line in json_log.finish()] == list(range(200))


@pytest.mark.parametrize("queue_lines", [1, 16384])
def test_closing_waits_for_a_stuck_reader_no_longer_than_asked(queue_lines):
    with Pipe("json", queue_lines=queue_lines) as pipe:
        pipe.clog()
        for _ in range(10):
            pipe.log.info("line")
        assert pipe.writer.close(0.05) is False


def test_what_waits_to_be_written_keeps_no_frames_alive():
    class Held:
        pass

    with Pipe("json") as pipe:
        pipe.clog()
        pipe.log.info("line")  # the writer waits with this one
        held = Held()
        watched = weakref.ref(held)
        try:
            fail_with_local(held)
        except ValueError as error:
            pipe.log.error("connection ended", exc_info=error)
        del held
        gc.collect()
        assert watched() is None
        assert "fail_with_local" in json.loads(pipe.finish()[-1])["exception"]


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
