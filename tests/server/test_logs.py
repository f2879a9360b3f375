"""The writer of the log: no reader, disk or value makes it cost more than a line."""

from __future__ import annotations

import errno
import gc
import json
import os
import select
import threading
import weakref

import pytest

import echoserver.observe.logs
from echoserver.observe.logs import LogWriter
from server.log_kit import PATIENCE, Pipe, fail_with_local


@pytest.fixture
def json_log():
    with Pipe("json") as pipe:
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
    take_batch = LogWriter._take_batch

    def late(writer: LogWriter, batch: list) -> None:
        entered.set()
        assert held.wait(PATIENCE)
        take_batch(writer, batch)

    monkeypatch.setattr(LogWriter, "_take_batch", late)
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


@pytest.mark.parametrize("step", ["_take_batch", "_write", "_report_lost"])
def test_a_shortage_of_memory_in_the_writer_costs_lines_and_not_the_writer(step, json_log, monkeypatch):
    really, failed = getattr(LogWriter, step), threading.Event()

    def fail_once(writer: LogWriter, argument: object) -> object:
        result = really(writer, argument) if step == "_take_batch" else None  # it fails with lines in its hands
        if not failed.is_set():
            failed.set()
            raise MemoryError
        return result if step == "_take_batch" else really(writer, argument)

    monkeypatch.setattr(LogWriter, step, fail_once)
    logged = 1
    while not failed.wait(0.01):
        json_log.log.info("line")
        logged += 1
    json_log.log.info("last")
    found = [json.loads(line) for line in json_log.finish()]
    written = [line["event"] for line in found if line["event"] != "log lines dropped"]
    assert written[-1] == "last"
    assert json_log.writer.dropped == logged - len(written) == sum(line.get("lines", 0) for line in found)
    assert (json_log.writer.dropped > 0) == (step != "_report_lost")


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
