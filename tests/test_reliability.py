"""Checks the reliability page against the tests and options that it names."""

from __future__ import annotations

import ast
import re

import pytest

from echoserver.config import options
from support import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
    if line.startswith("| ")
][1:]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`(tests/[^`]+)`", row[-1])})


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_page_names_exists(name):
    path, _, function = name.partition("::")
    assert function in functions_in(path)


def test_every_promise_has_a_test():
    assert len(ROWS) > 20
    assert all(re.search(r"`tests/", row[-1]) for row in ROWS)


def test_the_controls_are_options():
    known = {name for name, _ in options()}
    for row in ROWS:
        assert set(re.findall(r"`([a-z_]+)`", row[2])) <= known, row[2]


def test_every_stress_test_is_on_the_page():
    stress = {
        f"{path.relative_to(ROOT)}::{name}"
        for path in (ROOT / "tests" / "stress").glob("test_*.py")
        for name in functions_in(str(path.relative_to(ROOT)))
        if name.startswith("test_")
    }
    own = {name for name in stress if name.endswith(("_of_any_kind_is_one_line", "_is_the_one_that_was_started"))}
    assert stress - own <= set(NAMED)
