"""The benchmark in miniature: a few cells, the standard library's peers and ours, a fraction of a second each."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.cells import CELLS, Cell
from bench.measure import measure
from bench.page import BEGIN, END
from bench.servers import SERVERS, Server, ServerFailedError, running, wait_for_reply
from support import PATIENCE, environment

PAGE = f"# Title\n\nProse before.\n\n{BEGIN}\nold\n{END}\n\nProse after.\n"
OF_THE_LIBRARY = "threads,workers,socketserver,asyncio"


def arguments(*options: object) -> list[str]:
    return [sys.executable, "-m", "bench", *map(str, options)]


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(*options),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=3 * PATIENCE,
        env=environment(),
        check=False,
    )


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_benchmark_writes_its_page_its_chart_and_every_sample(tmp_path):
    page, records = tmp_path / "page.md", tmp_path / "samples.json"
    page.write_text(PAGE)
    options = ("--cells", "upper,churn", "--servers", OF_THE_LIBRARY, "--rounds", 1, "--seconds", 0.05)
    finished = bench(*options, "--page", page, "--json", records)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == f"\nwritten: {page}, {page.with_suffix('.svg')}\n"  # and no progress: it is no terminal

    cells = {cell["name"]: cell for cell in json.loads(records.read_text())["cells"]}
    assert list(cells) == ["upper", "churn"]
    for cell in cells.values():
        assert set(cell["servers"]) == set(OF_THE_LIBRARY.split(","))
        for server in cell["servers"].values():
            (sample,) = server["samples"]
            assert sample["problem"] == ""
            assert server["median"] == server["min"] == server["max"] == sample["value"] > 0

    text = page.read_text()
    before, rest = text.split(BEGIN)
    generated, after = rest.split(END)
    assert before == "# Title\n\nProse before.\n\n"
    assert after == "\n\nProse after.\n"
    assert "old" not in generated
    assert "](page.svg)" in generated
    for name in cells:
        assert f"### {CELLS[name].title}\n" in generated
    assert f"command: `python -m bench --cells {options[1]} --servers" in generated
    ET.fromstring(page.with_suffix(".svg").read_text())


def test_starting_is_compared_with_the_imports_alone():
    finished = bench("--cells", "start", "--servers", "threads,socketserver", "--rounds", 1, "--json", "-")
    assert finished.returncode == 0, finished.stderr
    (cell,) = json.loads(finished.stdout)["cells"]  # and nothing else
    assert cell["base"] == "imports"
    assert cell["servers"]["imports"]["ratio"] == 1
    assert cell["servers"]["threads"]["ratio"] == pytest.approx(
        cell["servers"]["threads"]["median"] / cell["servers"]["imports"]["median"]
    )
    assert "import click, structlog" in finished.stderr


def test_memory_is_measured_while_the_connections_are_open():
    cell = Cell("few", "few idle connections", "idle", connections=100)
    in_a_thread_each = measure(cell, SERVERS["socketserver"], 1.0)
    without = measure(cell, SERVERS["asyncio"], 1.0)
    assert in_a_thread_each.value > without.value > 0.5


@pytest.mark.parametrize("name", [name for name, server in SERVERS.items() if not server.module])
def test_a_server_answers_and_is_gone_afterwards(name):
    with running(SERVERS[name]) as started:
        assert wait_for_reply(started) > 0
        os.kill(started.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


def test_a_server_that_fails_is_named_with_its_last_words():
    broken = Server("broken", "", (sys.executable, "-c", "raise SystemExit('no such thing')"))
    with pytest.raises(ServerFailedError, match=r"ended with status 1: no such thing$"), running(broken) as started:
        wait_for_reply(started)


def test_a_server_that_dies_under_load_is_named_too():
    def load_and_kill() -> None:
        with running(SERVERS["socketserver"]) as started:
            wait_for_reply(started)
            os.kill(started.pid, signal.SIGKILL)
            os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(ServerFailedError, match="ended with status -9: it printed nothing"):
        load_and_kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_ends_its_server_and_leaves_the_page(tmp_path, number):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        arguments("--cells", "1x64", "--servers", "socketserver,asyncio", "--seconds", 60, "--page", page),
        stdin=subprocess.DEVNULL,
        stdout=its_end,
        stderr=its_end,
        env=environment(TERM="xterm"),
    )
    os.close(its_end)
    shown = b""
    while b"socketserver" not in shown:  # the progress says who is measured
        shown += os.read(terminal, 4096)
    while not (servers := children_of(process.pid)):
        assert process.poll() is None
    process.send_signal(number)
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # the end of a terminal
        pass
    os.close(terminal)
    assert process.wait(PATIENCE) == 130
    assert b"round 1 of 5" in shown
    assert b"INTERRUPTED" in shown
    assert page.read_text() == PAGE
    # The first child is the server; the load's processes, if it came to that, are the load generator's to end.
    with pytest.raises(ProcessLookupError):
        os.kill(servers[0], 0)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--cells", "1x65"], "'1x65' is not one of: 1x64, 16x64,"),
        (["--servers", "threads,apache"], "'apache' is not one of: threads, threads-all-cores,"),
        (["--servers", "threads", "--base", "asyncio"], "'asyncio' is not measured: name one of threads"),
        (["--page", "/nowhere/page.md"], "/nowhere/page.md: No such file or directory: name a page with"),
        (["--rounds", 0], "0 is not in the range"),
    ],
)
def test_what_makes_no_sense_is_refused(options, problem):
    finished = bench(*options)
    assert finished.returncode == 2
    assert problem in re.sub(r"\s+", " ", finished.stderr)
    assert "Traceback" not in finished.stderr


def test_a_page_without_its_markers_is_refused_before_anything_is_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{END}\n{BEGIN}\n")
    finished = bench("--page", page)
    assert finished.returncode == 2
    assert "once each, in this order" in finished.stderr
