"""pytest loads the plugin wherever echoserver is installed: it costs nothing there, and breaks nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import echoserver.pytest_plugin
from plugin.kit import PROJECT, Runs, outcomes
from support import environment

pytest_plugins = ["pytester"]

OURS = ["echoserver", "echoserver.pytest_plugin"]
CONFTEST = """
import sys

def pytest_unconfigure(config):
    print("loaded:", *sorted(name for name in sys.modules if name.startswith("echoserver")))
"""


def test_importing_it_loads_nothing_but_pytest():
    code = (
        "import sys, pytest; before = set(sys.modules); import echoserver.pytest_plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert ran.stdout.split() == OURS


def test_a_run_that_uses_none_of_it_loads_nothing_more(runs: Runs):
    runs.pytester.makeconftest(CONFTEST)
    result = runs("def test_nothing():\n    pass\n", "-W", "error")
    assert outcomes(result) == {"passed": 1}
    result.stdout.fnmatch_lines([f"loaded: {' '.join(OURS)}"])


def test_a_test_that_uses_it_finds_it_by_its_entry_point(runs: Runs):
    assert PROJECT["entry-points"]["pytest11"] == {"echoserver": "echoserver.pytest_plugin"}
    result = runs("def test_it(echo_server):\n    assert echo_server.port\n", "-W", "error", "--strict-config")
    assert outcomes(result) == {"passed": 1}


def test_it_can_be_turned_off(runs: Runs):
    source = "def test_nothing():\n    pass\n\n\ndef test_it(echo_server):\n    pass\n"
    result = runs(source, "-p", "no:echoserver", "-W", "error")
    assert outcomes(result) == {"passed": 1, "errors": 1}
    result.stdout.fnmatch_lines(["*fixture 'echo_server' not found*"])


def test_its_marker_option_and_fixtures_are_documented_in_pytest(runs: Runs):
    shown = runs("", "--markers").stdout.str() + runs("", "--help").stdout.str() + runs("", "--fixtures").stdout.str()
    for text in (
        "@pytest.mark.tcp_leaks(enabled=True): fail",
        "tcp_leaks (bool)",
        "\ntcp_server -- ",
        "\necho_server -- ",
    ):
        assert text in shown


def test_it_breaks_no_program_that_runs_pytest_after_loading_echoserver(runs: Runs):
    runs.pytester.makepyfile(test_it="def test_it(echo_server):\n    pass\n")
    code = (
        "import echoserver.server, echoclient, pytest, sys;"
        "sys.exit(pytest.main(['-p', 'no:cacheprovider', '-p', 'no:asyncio', '-W', 'error', 'test_it.py']))"
    )
    assert outcomes(runs.pytester.run(sys.executable, "-c", code)) == {"passed": 1}


@pytest.mark.parametrize("name", echoserver.pytest_plugin.__all__)
def test_what_it_exports_can_be_imported(name):
    assert getattr(echoserver.pytest_plugin, name).__name__ == name


def test_it_exports_nothing_else():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = echoserver.pytest_plugin.nonsense
