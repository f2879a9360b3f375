"""The page of the tour: its pictures are those that the programs draw, its code is theirs, and its links lead there."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from support import ROOT
from tour.kit import PICTURES, TOUR, labels, load

PAGE = (ROOT / "docs" / "tour.md").read_text()
PARTS = {
    int(part.split(".")[0]): part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if part[0].isdecimal()
}
CHAPTERS = {int(path.stem[:2]): path.stem for path in sorted(TOUR.glob("[01][0-9]_*.py"))}
NUMBERS = sorted(PARTS)
MOST_LINES = 80


def deterministic(names: list[str]) -> set[str]:
    """Return names without numbers, which depend on the order of events, and without what only newer versions show."""
    return {re.sub(r"\d+", "N", name) for name in names if "interpreter" not in name}


def test_every_chapter_has_its_page():
    assert list(CHAPTERS) == NUMBERS


@pytest.mark.parametrize("number", CHAPTERS)
def test_a_chapter_is_short_and_needs_only_the_standard_library(number):
    source = (TOUR / f"{CHAPTERS[number]}.py").read_text()
    assert len(source.splitlines()) < MOST_LINES
    ours = {"echoserver", "echoclient", *(path.stem for path in TOUR.glob("*.py"))}
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", source.split('"""', 2)[2], re.MULTILINE))
    assert imported <= ours | set(sys.stdlib_module_names)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_code_of_the_page_is_that_of_the_program(number):
    lines = [
        line.strip()
        for path in [TOUR / f"{CHAPTERS[number]}.py", *sorted(TOUR.glob("[a-z]*.py"))]
        for line in path.read_text().splitlines()
    ]
    at = 0
    (core,) = re.findall(r"^```python\n(.*?)^```$", PARTS[number], re.MULTILINE | re.DOTALL)
    shown = [line.strip() for line in core.splitlines() if line.strip() not in ("", "...")]
    assert 5 <= len(shown) <= 14
    for line in shown:
        assert line in lines[at:], f"not in the program, or not in this order: {line}"
        at += lines[at:].index(line) + 1


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_has_all_its_parts(number):
    part = PARTS[number]
    assert f"](tour/{number:02}.svg)" in part
    for mark in ("**Rule:**", "**In the server:**", "**Exercise:**", f"(../examples/tour/solutions/{number:02}_"):
        assert part.count(mark) == 1, mark
    assert re.search(r"^\*[A-Z].*\?\*$", part, re.MULTILINE), "the question"


def test_each_link_has_a_target():
    for link in re.findall(r"\]\(([^)#:]+)(?:#\w+)?\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_the_links_to_the_code_name_the_lines_of_today():
    assert load(ROOT / "docs" / "draw_tour.py").with_lines(PAGE) == PAGE, "run `make tour-links`"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_picture_is_what_the_program_draws(number, chapter):
    shown = (PICTURES / f"{number:02}.svg").read_text(encoding="utf-8")
    drawn = chapter(CHAPTERS[number]).picture
    assert labels(drawn, "title") == labels(shown, "title")
    for style in ("row", "span"):
        assert deterministic(labels(drawn, style)) == deterministic(labels(shown, style))


# -- make tour


@pytest.fixture
def make(tmp_path):
    """Return what runs `make tour` in an environment that is installed already: the interpreter of the tests."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    (tmp_path / ".installed").touch()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--silent", "tour", f"VENV={tmp_path}", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)

    return run


def test_make_tour_runs_one_chapter(make):
    ran = make("CHAPTER=2")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.findall("^== (.*)$", ran.stdout, re.MULTILINE) == ["examples/tour/02_names.py"]


def test_make_tour_says_if_there_is_no_such_chapter(make):
    ran = make("CHAPTER=77")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[0] == "make: there is no chapter 77; name one: make tour CHAPTER=8"
