"""A test that leaves a socket of its own open fails, and no other test does."""

from __future__ import annotations

import re

import pytest

from plugin.kit import Runs, outcomes, text_of
from plugin.leak_cases import COLLECTED, GUILTY, INNOCENT, START

pytest_plugins = ["pytester"]


def run(runs: Runs, group: dict[str, str], *arguments: str) -> pytest.RunResult:
    return runs.files({name: START + source for name, source in group.items()}, *arguments)


def test_who_leaves_a_connection_open_is_accused(runs: Runs):
    result = run(runs, GUILTY)
    assert outcomes(result) == {"passed": len(GUILTY), "errors": len(GUILTY)}
    accusation = "test_it left 1 TCP socket open:\n  127.0.0.1:N -> 127.0.0.1:N, 0 bytes sent, 0 received, made at\n"
    assert text_of(result).count(accusation) == len(GUILTY)
    for name in GUILTY:
        assert re.search(rf"\n    \S*/test_{name}.py:\d+ in \S+\n      \S", text_of(result))


def test_nobody_else_is_accused(runs: Runs):
    assert outcomes(run(runs, INNOCENT)) == {"passed": len(INNOCENT)}


def test_what_the_garbage_collector_closes_is_a_warning(runs: Runs):
    result = run(runs, COLLECTED)
    assert outcomes(result) == {"passed": len(COLLECTED), "warnings": len(COLLECTED)}
    for name in COLLECTED:
        assert re.search(
            rf"test_{name}.py:\d+: UnclosedSocketWarning: test_it left a TCP socket to the", text_of(result)
        )
    only_ours = "error::echoserver.pytest_plugin.UnclosedSocketWarning"
    assert outcomes(run(runs, COLLECTED, "-W", only_ours)) == {"passed": len(COLLECTED), "errors": len(COLLECTED)}


def test_the_accusation_says_what_was_moved_and_lists_all(runs: Runs):
    source = """
def test_it(echo_server):
    kept.append(connect(echo_server))
    kept[0].sendall(b"hello")
    assert kept[0].recv(3) == b"hel"
    kept.append(socket.create_server(("127.0.0.1", 0)))
    kept.append(socket.socket())
"""
    text = text_of(runs(START + source))
    assert "test_it left 3 TCP sockets open:\n  127.0.0.1:N -> 127.0.0.1:N, 5 bytes sent, 5 received, made at\n" in text
    assert "      kept.append(connect(echo_server))\n  listening on 127.0.0.1:N, made at\n" in text
    assert '      kept.append(socket.create_server(("127.0.0.1", 0)))\n  0.0.0.0:0, not connected, made at\n' in text


def test_a_test_that_fails_is_not_accused_as_well(runs: Runs):
    source = """
def test_it(echo_server):
    client = connect(echo_server)
    kept.append(client)
    raise AssertionError

def test_setup(echo_server, nonsense):
    pass

def test_skipped(echo_server):
    kept.append(connect(echo_server))
    pytest.skip()
"""
    assert outcomes(runs(START + source)) == {"failed": 1, "errors": 1, "skipped": 1}


def test_one_option_checks_all_tests(runs: Runs):
    source = (
        START.replace("pytestmark", "unused")
        + GUILTY["a_socket"]
        + INNOCENT["a_test_that_is_exempt"].replace("it(", "that(")
    )
    assert outcomes(runs(source)) == {"passed": 2}
    runs.pytester.makeini("[pytest]\ntcp_leaks = true\n")
    result = runs(source)
    assert outcomes(result) == {"passed": 2, "errors": 1}
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*"])


def test_nothing_stays_replaced(runs: Runs):
    source = """
originals = [vars(socket.socket)[name] for name in ("__init__", "_real_close", "detach")]
finalizer = asyncio.StreamWriter.__del__

def test_it(echo_server):
    assert socket.socket.__init__ is not originals[0]
    assert asyncio.StreamWriter.__del__ is not finalizer

@pytest.mark.tcp_leaks(enabled=False)
def test_after_it():
    assert [vars(socket.socket)[name] for name in ("__init__", "_real_close", "detach")] == originals
    assert asyncio.StreamWriter.__del__ is finalizer

@pytest.fixture
def failing(echo_server):
    yield
    raise AssertionError

def test_teardown(failing):
    pass

test_after_that = test_after_it
"""
    assert outcomes(runs(START + source)) == {"passed": 4, "errors": 1}


def test_what_another_tool_has_replaced_meanwhile_is_left(runs: Runs):
    source = """
def test_it():
    theirs = socket.socket.detach
    socket.socket.detach = lambda sock: theirs(sock)
    kept.append(socket.socket.detach)

@pytest.mark.tcp_leaks(False)
def test_after_it(echo_server):
    assert socket.socket.detach is kept[0]
    client = connect(echo_server)
    socket.close(client.detach())
"""
    assert outcomes(runs(START + source, "-W", "error")) == {"passed": 2}
