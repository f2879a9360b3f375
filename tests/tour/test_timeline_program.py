"""A chapter as a program: its command line, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys

from tour.kit import PATIENCE, TOUR, labels

WAITER = "threading.Thread(target=threading.Event().wait, name='w')"
TALKER = """
from timeline import Timeline, main
def run():
    line = Timeline()
    while True:
        line.say("x")
main(run)
"""


def program(body: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    source = (
        f'"""Chapter 0: try."""\nimport threading, time\nimport timeline\nfrom timeline import *\n{body}\nmain(run)\n'
    )
    return subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOUR)},
        timeout=PATIENCE,
        check=False,
    )


def test_two_pictures_go_into_one_file(tmp_path):
    ran = program("def run():\n    Timeline().show('one')\n    bars('two', {'a': 1})", "--svg", tmp_path / "a.svg")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert labels((tmp_path / "a.svg").read_text(encoding="utf-8"), "title") == ["one", "two"]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    ran = program("def run(): pass", "--svg", tmp_path / "no" / "a.svg")
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [f"-c: can't write {tmp_path}/no/a.svg: No such file or directory"]


def test_ctrl_c_ends_it_with_its_threads():
    ran = program(
        "def run():\n    threading.Thread(target=threading.Event().wait).start()\n    raise KeyboardInterrupt"
    )
    assert (ran.returncode, ran.stderr) == (130, "")


def test_a_thread_that_does_not_end_is_named():
    ran = program(f"timeline.PATIENCE = 0.01\ndef run():\n    {WAITER}.start()")
    assert (ran.returncode, ran.stderr) == (1, "-c: thread w does not end\n")


def test_a_reader_that_goes_away_ends_it():
    with subprocess.Popen(
        [sys.executable, "-c", TALKER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TOUR)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == b""
