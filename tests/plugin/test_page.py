"""The page of the plugin: its tests pass as they stand there, and its tables and samples are those of the code."""

from __future__ import annotations

import inspect
import re

import pytest

from echoserver.pytest_plugin import TcpServer, TcpServerFactory
from plugin.kit import Runs, outcomes
from support import ROOT

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "pytest.md").read_text()
EXAMPLES = {
    code.splitlines()[0].removeprefix("# "): code
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}


def shown(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return block


def names(first_header: str) -> list[str]:
    """Return what stands in backquotes in the first column of a table, without the parameters of methods."""
    (table,) = re.findall(rf"^\| {first_header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [name for row in table.splitlines() for name in re.findall(r"`(\w+)[^`]*`", row.split("|")[1])]


def test_the_tests_of_the_retrying_client_pass(runs: Runs):
    command, *output = shown("console").splitlines()
    assert command == "$ pytest -q test_retrying.py"
    result = runs(EXAMPLES["test_retrying.py"], "-q", "-W", "error")
    assert outcomes(result) == {"passed": 5}
    assert [re.sub(r"\d\.\d\ds", "Ns", line) for line in output] == [
        re.sub(r"\d\.\d\ds", "Ns", line) for line in result.outlines
    ]


def test_the_leak_is_reported_as_shown(runs: Runs):
    result = runs(EXAMPLES["test_asking.py"])
    assert outcomes(result) == {"passed": 1, "errors": 1}
    first, *others = shown("text").splitlines()
    at = result.outlines.index(first)
    real = [re.sub(r"\S+test_it.py", "FILE", line) for line in result.outlines[at + 1 : at + 1 + len(others)]]
    expected = [re.sub(r"\S+test_asking.py", "FILE", line) for line in others]
    assert [re.sub(r":\d{5}", ":N", line) for line in real] == [re.sub(r":\d{5}", ":N", line) for line in expected]


def test_the_asynchronous_test_passes(runs: Runs):
    pytest.importorskip("pytest_asyncio")
    arguments = ("-p", "asyncio", "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function")
    assert outcomes(runs(EXAMPLES["test_async.py"], *arguments)) == {"passed": 1}


def test_every_example_is_run():
    assert list(EXAMPLES) == ["test_retrying.py", "test_asking.py", "test_async.py"]


def test_the_table_of_arguments_matches_the_signature():
    parameters = [name for name in inspect.signature(TcpServerFactory.__call__).parameters if name != "self"]
    assert [*names("Argument"), "options"] == parameters


def test_the_table_of_the_server_has_all_of_it():
    public = {name for name in vars(TcpServer) if not name.startswith("_")} - {
        "close"
    }  # the end of the test calls that
    assert set(names("Of the server")) == public
