"""What went wrong in a server is reported with the test, and no server keeps a test from ending."""

from __future__ import annotations

import pytest

from plugin.kit import Runs, outcomes, text_of

pytest_plugins = ["pytester"]

FAILING = """
import socket

import pytest
from echoserver import Handler


class Shy(Handler):
    def feed(self, data):
        raise ValueError("not " + data.decode())


def provoke(server):
    with socket.create_connection(server.address, 10) as peer:
        peer.sendall(b"you")
        assert peer.recv(10) == b""
"""


def test_an_exception_of_the_handler_is_a_warning_with_its_traceback(runs: Runs):
    result = runs(FAILING + "\n\ndef test_it(tcp_server):\n    provoke(tcp_server(Shy))\n")
    assert outcomes(result) == {"passed": 1, "warnings": 1}
    text = text_of(result)
    assert "test_it.py:18: TcpServerWarning: tcp://127.0.0.1:N: connection 1 from 127.0.0.1:N ended with" in text
    assert 'raise ValueError("not " + data.decode())' in text
    assert "ValueError: not you" in text


def test_where_warnings_are_errors_so_is_this(runs: Runs):
    result = runs(FAILING + "\n\ndef test_it(tcp_server):\n    provoke(tcp_server(Shy))\n", "-W", "error")
    assert outcomes(result) == {"passed": 1, "errors": 1}
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "E*TcpServerWarning: tcp://*"])


def test_it_can_be_ignored_by_name_and_taken_by_the_test(runs: Runs):
    source = """

@pytest.mark.filterwarnings("ignore::echoserver.pytest_plugin.TcpServerWarning")
def test_ignored(tcp_server):
    provoke(tcp_server(Shy))


def test_taken(tcp_server):
    server = tcp_server(Shy)
    provoke(server)
    server.stop()
    (error,) = server.take_errors()
    assert str(error) == "not you"
"""
    assert outcomes(runs(FAILING + source, "-W", "error")) == {"passed": 2}


def test_the_log_of_the_server_is_shown_with_a_test_that_fails(runs: Runs):
    source = """

def test_it(tcp_server):
    server = tcp_server(Shy)
    provoke(server)
    server.stop()
    raise AssertionError
"""
    result = runs(FAILING + source, "--log-level=INFO")
    assert outcomes(result)["failed"] == 1
    text = text_of(result)
    assert "Captured log call" in text
    assert "listening endpoint=tcp://127.0.0.1:N" in text
    assert "connection ended id=1 peer=127.0.0.1:N" in text


STUCK = """
import socket
import threading

never = threading.Event()
peers = []


def connect(server):
    peers.append(socket.create_connection(server.address, 10))
    peers[-1].sendall(b"x")
    server.wait_for_connections(1)
"""


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_a_handler_that_never_returns_is_given_up(runs: Runs, mode):
    source = f"""

def test_it(tcp_server):
    entered = threading.Event()
    server = tcp_server(lambda data: entered.set() or never.wait(), mode={mode!r})
    connect(server)
    assert entered.wait(10)
    port = server.refused_address()[1]


def test_after_it(echo_server):
    pass
"""
    result = runs(STUCK + source)
    assert outcomes(result) == {"passed": 2, "warnings": 1}
    text = text_of(result)
    assert "connection 1 from 127.0.0.1:N had to be cut after 2 s: its handler had not returned" in text
    assert "threads did not end" in text
    assert result.duration < 15


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_a_peer_that_does_not_read_is_cut(runs: Runs, mode):
    source = f"""

def test_it(tcp_server):
    server = tcp_server(lambda data: bytes(64 * 1024 * 1024), mode={mode!r})
    connect(server)
    assert peers[0].recv(1) == bytes(1)
"""
    result = runs(STUCK + source)
    assert outcomes(result) == {"passed": 1, "warnings": 1}
    assert "connection 1 from 127.0.0.1:N had to be cut after 2 s: its peer did not read its reply" in text_of(result)
    assert result.duration < 15


def test_servers_end_when_the_test_fails(runs: Runs):
    source = """
import socket

import pytest

addresses = []


def test_it(tcp_server):
    addresses.extend(tcp_server().address for _ in range(3))
    addresses.append(tcp_server().refused_address())
    raise AssertionError


@pytest.mark.parametrize("number", range(4))
def test_after_it(number):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(addresses[number])
"""
    assert outcomes(runs(source, "-W", "error")) == {"failed": 1, "passed": 4}


def test_it_works_under_xdist(runs: Runs):
    pytest.importorskip("xdist")
    source = """
import socket

import pytest


@pytest.mark.parametrize("number", range(6))
def test_it(echo_server, number):
    with socket.create_connection(echo_server.address, 10) as peer:
        peer.sendall(b"hello")
        assert peer.recv(5) == b"hello"


kept = []


@pytest.mark.tcp_leaks
def test_leak(echo_server):
    kept.append(socket.create_connection(echo_server.address, 10))
"""
    result = runs(source, "-n", "2", "-W", "error")
    assert outcomes(result) == {"passed": 7, "errors": 1}
    result.stdout.fnmatch_lines(["test_leak left 1 TCP socket open:"])
