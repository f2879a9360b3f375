"""`echoclient bench` and `echoclient report` as commands: exit statuses, files, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from echoclient.load.command import bench, report
from echoclient.load.plan import Plan
from echoclient.load.result import Result

ECHOCLIENT = [sys.executable, "-m", "echoclient"]


def echoclient(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ECHOCLIENT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `echoclient`; the test ends it, and what still runs after the test is killed."""
    started = []

    def go(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*ECHOCLIENT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_good_run_writes_everything_it_was_asked_for(serve, scripts, tmp_path):
    files = {kind: tmp_path / f"r.{kind}" for kind in ("json", "hgrm", "html")}
    options = [part for kind, file in files.items() for part in (f"--{kind}", file)]
    done = echoclient("bench", "-n", 500, "-s", "1-100", *options, serve(scripts.echo).port)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "BENCH 127.0.0.1:" in done.stdout
    assert "500 messages" in done.stdout
    assert "\x1b" not in done.stdout
    assert json.loads(files["json"].read_text())["messages"]["answered"] == 500
    assert files["hgrm"].read_text().startswith("       Value     Percentile TotalCount 1/(1-Percentile)\n\n")
    assert files["html"].read_text().startswith("<!doctype html>")


def test_json_on_standard_output_is_alone_there(serve, scripts):
    done = echoclient("bench", "-n", 100, "--json", "-", serve(scripts.echo).port)
    assert done.returncode == 0
    values = json.loads(done.stdout)
    assert values["ok"] is True
    assert values["plan"]["messages"] == 100


def test_corruption_is_exit_status_1_and_named_also_with_json(serve, scripts):
    done = echoclient("bench", "-c", 2, "-n", 100, "--json", "-", serve(scripts.corrupt(1003)).port)
    assert done.returncode == 1
    assert json.loads(done.stdout)["errors"]["examples"][0]["offset"] == 1003
    assert "CORRUPT on connection" in done.stderr
    assert "reply byte 1,003" in done.stderr


def test_no_server_is_exit_status_1_and_one_line():
    done = echoclient("bench", "-n", 16, 1)
    assert done.returncode == 1
    assert done.stderr == "echoclient: REFUSED 127.0.0.1:1: connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-s", "0"], "size 0: must be from 1"),
        (["-s", "x"], "'x' is not a size"),
        (["-s", "9-1"], "write the smaller number first"),
        (["-c", "0"], "'-c' / '--connections': 0 is not in the range"),
        (["-n", "0"], "0 is not in the range"),
        (["-n", "5", "-c", "6"], "5 messages over 6 connections"),
        (["-n", "50", "--duration", "1s"], "give only one of them"),
        (["--duration", "0"], "duration 0 s: must be longer than 0"),
        (["--duration", "5"], "'5' has no unit"),
        (["--rate", "0"], "rate 0: must be more than 0"),
        (["--rate", "nan"], "rate nan"),
        (["--rate", "5", "--churn"], "leave out the rate"),
        (["--processes", "99"], "99 processes for 16 connections"),
        (["--json", "/nowhere/at/all.json"], "there is no directory /nowhere/at"),
        (["--html", "/"], "/ is a directory"),
        (["--json", "/tmp/same", "--html", "/tmp/same"], "/tmp/same is named twice"),
        (["--source", "127.0.0"], "source '127.0.0': must be an IP address of this machine, such as 127.0.0.2"),
        (["--expect", "lower"], "'lower' is not one of 'echo', 'upper'"),
        (["--hgrm", "-"], "- is standard output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_exit_status_2(arguments, words):
    done = CliRunner().invoke(bench, [*arguments, "1"])
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("192.0.2.1", "must be an address of this machine"),
        ("::1", "must be of the server's address family"),
        ("::ffff:127.0.0.2", "must be of the server's address family"),
    ],
)
def test_an_impossible_source_is_refused_before_the_run(serve, scripts, source, words):
    server = serve(scripts.echo)
    done = echoclient("bench", "-n", 16, "--source", "127.0.0.1", "--source", source, server.port)
    assert done.returncode == 2
    assert done.stderr == f"Error: source {source}: {words}\n"


def test_a_result_that_cannot_be_written_is_reported(serve, scripts):
    done = echoclient("bench", "-n", 16, "--json", "/dev/full", serve(scripts.echo).port)
    assert done.returncode == 1
    assert done.stderr == "echoclient: OTHER /dev/full can't be written: No space left on device\n"


def test_bench_needs_no_library_but_those_of_the_base_install(serve, scripts, tmp_path):
    for name in ("hdrh", "prompt_toolkit"):
        (tmp_path / f"{name}.py").write_text("raise ModuleNotFoundError\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = echoclient("bench", "-n", 16, serve(scripts.echo).port, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_the_run_with_its_figures(serve, scripts, start, processes):
    server = serve(scripts.echo)
    process = start("bench", "--duration", "1h", "--processes", processes, "--json", "-", server.port)
    assert server.busy.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    values = json.loads(out)
    assert values["interrupted"] is True
    assert values["messages"]["answered"] > 0
    assert values["errors"]["counts"] == {}
    assert "INTERRUPTED" in err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_a_process_of_the_load_that_dies_is_named(serve, scripts, start):
    server = serve(scripts.echo)
    process = start("bench", "--duration", "1h", "--processes", 2, server.port)
    assert server.busy.wait(20)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "FAILED: load process 1 was ended by SIGKILL before it had a result" in out
    assert "Traceback" not in out + err


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
def test_the_processes_of_the_load_end_with_the_one_that_started_them(serve, scripts, start):
    server = serve(scripts.echo)
    # In the warm-up they write nothing, so a write that fails can't tell them.
    process = start("bench", "--warmup", "1h", "--processes", 2, server.port)
    assert server.busy.wait(20)
    watched = [os.pidfd_open(child) for child in children(process.pid)]
    process.kill()
    process.wait()
    for descriptor in watched:
        with os.fdopen(descriptor):
            assert select.select([descriptor], [], [], 20)[0]


def test_a_terminal_has_a_live_line_and_it_is_gone_at_the_end(serve, scripts):
    ours, theirs = pty.openpty()
    server = serve(scripts.echo)
    process = subprocess.Popen(
        [*ECHOCLIENT, "bench", "--duration", "0.8s", str(server.port)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(4096)
            except OSError:  # on Linux, this means that the other side is closed
                break
            if not piece:
                break
            shown += piece
    assert process.wait() == 0
    lines = [line for line in shown.decode().split("\r") if "measuring" in line]
    assert lines
    for words in ("s left", "/s", "p50", "p99", "0 errors"):
        assert words in lines[-1]
    # The line is erased before the table begins.
    assert b"\r\x1b[Kthroughput" in shown


def test_report_draws_several_results(tmp_path):
    names = []
    for size in (10, 100):
        names.append(str(tmp_path / f"size{size}.json"))
        Path(names[-1]).write_text(Result(Plan(smallest=size, largest=size), "", {}).to_json())
    done = CliRunner().invoke(report, [*names, "--html", str(tmp_path / "both.html")])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path}/both.html: 2 results\n"
    text = (tmp_path / "both.html").read_text()
    assert "2 runs compared" in text
    assert "size10.json" in text


@pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"format": "echoclient-bench/1"}', "\udcff"])
def test_report_refuses_a_file_that_is_not_a_result(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content.encode(errors="surrogateescape"))
    done = CliRunner().invoke(report, [str(tmp_path / "x.json"), "--html", str(tmp_path / "x.html")])
    assert done.exit_code == 2
    assert "x.json: " in done.stderr
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("command", [bench, report], ids=lambda command: command.name)
def test_help_has_an_example(command):
    done = CliRunner().invoke(command, ["--help"])
    assert done.exit_code == 0
    assert re.search(rf"^ +echoclient {command.name} .*$", done.stdout, re.MULTILINE)
