"""The benchmark in miniature: a few workloads, our server and the standard library's, a fraction of a second each."""

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

from bench.measure import measure
from bench.page import BEGIN, END
from bench.running import ServerFailedError, running, wait_for_reply
from bench.servers import SERVERS, Server
from bench.workloads import WORKLOADS, Traffic, Workload
from support import PATIENCE, environment

PAGE = f"# Title\n\nProse before.\n\n{BEGIN}\nold\n{END}\n\nProse after.\n"
WITHOUT_EXTRAS = "threads,workers,socketserver,asyncio"


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
    page, samples_file = tmp_path / "page.md", tmp_path / "samples.json"
    page.write_text(PAGE)
    options = ("--workloads", "upper,churn", "--servers", WITHOUT_EXTRAS, "--rounds", 1, "--seconds", 0.4)
    finished = bench(*options, "--page", page, "--json", samples_file)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert (
        finished.stderr == f"\nwritten: {page}, {page.with_suffix('.svg')}, {page.with_name('page-all.svg')}\n"
    )  # and no progress, since it is not a terminal

    workloads = {workload["name"]: workload for workload in json.loads(samples_file.read_text())["workloads"]}
    assert list(workloads) == ["upper", "churn"]
    for workload in workloads.values():
        assert set(workload["servers"]) == set(WITHOUT_EXTRAS.split(","))
        for server in workload["servers"].values():
            (sample,) = server["samples"]
            assert sample["problem"] == ""
            figures = server["figures"]
            assert figures["median"] == figures["low"] == figures["high"] == sample["value"] > 0

    text = page.read_text()
    before, rest = text.split(BEGIN)
    generated, after = rest.split(END)
    assert before == "# Title\n\nProse before.\n\n"
    assert after == "\n\nProse after.\n"
    assert "old" not in generated
    assert "](page-all.svg)" in generated
    for name in workloads:
        assert f"### {WORKLOADS[name].title}\n" in generated
    assert f"command: `python -m bench --workloads {options[1]} --servers" in generated
    ET.fromstring(page.with_name("page-all.svg").read_text())


def test_start_up_is_compared_with_the_bare_imports():
    finished = bench("--workloads", "start", "--servers", "threads,socketserver", "--rounds", 1, "--json", "-")
    assert finished.returncode == 0, finished.stderr
    (workload,) = json.loads(finished.stdout)["workloads"]  # standard output is JSON alone
    assert workload["baseline"] == "imports"
    imports, threads = workload["servers"]["imports"], workload["servers"]["threads"]
    assert imports["figures"]["ratio"] == 1
    assert threads["figures"]["ratio"] == pytest.approx(threads["figures"]["median"] / imports["figures"]["median"])
    assert "import click, structlog" in finished.stderr


def test_memory_is_measured_while_the_connections_are_open():
    workload = Workload("few", "few idle connections", "idle", Traffic(100))
    thread_each = measure(workload, SERVERS["socketserver"], 1.0)
    no_threads = measure(workload, SERVERS["asyncio"], 1.0)
    assert thread_each.value > no_threads.value > 0.5


@pytest.mark.parametrize("name", [name for name, server in SERVERS.items() if server.needs not in ("uvloop", "gevent")])
def test_a_server_answers_and_is_gone_afterwards(name):
    if not SERVERS[name].installed:
        pytest.skip(f"{SERVERS[name].needs} is not here")
    with running(SERVERS[name]) as started:
        assert wait_for_reply(started) > 0
        os.kill(started.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


def test_a_server_that_fails_is_reported_with_its_last_line():
    broken = Server("broken", "", (sys.executable, "-c", "raise SystemExit('no such thing')"))
    with pytest.raises(ServerFailedError, match=r"ended with status 1: no such thing$"), running(broken) as started:
        wait_for_reply(started)


def test_a_server_that_dies_under_load_is_reported():
    def load_and_kill() -> None:
        with running(SERVERS["socketserver"]) as started:
            wait_for_reply(started)
            os.kill(started.pid, signal.SIGKILL)
            os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(ServerFailedError, match="ended with status -9: it printed nothing"):
        load_and_kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_stops_its_server_and_leaves_the_page_unchanged(tmp_path, number):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    terminal, terminal_of_child = pty.openpty()
    process = subprocess.Popen(
        arguments("--workloads", "1x64", "--servers", "socketserver,asyncio", "--seconds", 60, "--page", page),
        stdin=subprocess.DEVNULL,
        stdout=terminal_of_child,
        stderr=terminal_of_child,
        env=environment(TERM="xterm"),
    )
    os.close(terminal_of_child)
    shown = b""
    while b"socketserver" not in shown:  # the progress line names the server
        shown += os.read(terminal, 4096)
    while not (servers := children_of(process.pid)):
        assert process.poll() is None
    process.send_signal(number)
    try:
        while data := os.read(terminal, 4096):
            shown += data
    except OSError:  # the end of a terminal
        pass
    os.close(terminal)
    assert process.wait(PATIENCE) == 130
    assert b"round 1 of 5" in shown
    assert b"INTERRUPTED" in shown
    assert page.read_text() == PAGE
    # The first child is the server. Any others belong to the load generator, which ends them.
    with pytest.raises(ProcessLookupError):
        os.kill(servers[0], 0)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--workloads", "1x65"], "'1x65' is not one of: 1x64, 16x64,"),
        (["--servers", "threads,apache"], "'apache' is not one of: threads, workers,"),
        (["--servers", "threads", "--baseline", "asyncio"], "'asyncio' is not measured: name one of threads"),
        (["--page", "/nowhere/page.md"], "/nowhere/page.md: No such file or directory: name a page that has"),
        (["--rounds", 0], "0 is not in the range"),
    ],
)
def test_a_bad_option_is_refused(options, problem):
    finished = bench(*options)
    assert finished.returncode == 2
    assert problem in re.sub(r"\s+", " ", finished.stderr)
    assert "Traceback" not in finished.stderr


def test_help_shows_each_example_on_its_own_line():
    lines = bench("--help").stdout.splitlines()
    assert "    python -m bench --page docs/benchmarks.md" in lines
    assert not [line for line in lines if "\\b" in line]


def test_a_page_without_markers_is_refused_before_anything_is_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{END}\n{BEGIN}\n")
    finished = bench("--page", page)
    assert finished.returncode == 2
    assert "once each, in this order" in finished.stderr
