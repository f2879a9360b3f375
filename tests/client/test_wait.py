"""wait: a server is up when it answers, and not before."""

from __future__ import annotations

import socket

import pytest

from client.kit import PATIENCE, hold, reset, run, started, upper
from echoclient.durations import Deadline
from echoclient.errors import ClosedError, RefusedError, ResetError, TimedOutError
from echoclient.target import Target
from echoclient.wait import probe


@pytest.fixture
def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_an_answer_is_enough(serve):
    for manners in (upper, lambda connection: connection.sendall(b"!") or connection.recv(65536)):
        probe(Target(port=serve(manners).port), Deadline(PATIENCE))


def test_a_port_that_only_accepts_is_not(serve):
    with pytest.raises(TimedOutError, match="connected, but no answer"):
        probe(Target(port=serve(hold).port), Deadline(0.05))
    with pytest.raises(ClosedError, match="without an answer"):
        probe(Target(port=serve(lambda connection: connection.recv(65536)).port), Deadline(PATIENCE))
    with pytest.raises(ResetError):
        probe(
            Target(port=serve(lambda connection: connection.recv(65536) and reset(connection)).port), Deadline(PATIENCE)
        )


def test_nobody_there(free_port):
    with pytest.raises(RefusedError):
        probe(Target(port=free_port), Deadline(PATIENCE))


def test_it_returns_as_soon_as_the_server_is_up(serve, free_port):
    with started("wait", free_port) as process:
        line = process.stderr.readline().decode()
        assert line == f"echoclient: waiting up to 30s for 127.0.0.1:{free_port} (REFUSED)\n"
        serve(port=free_port)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


def test_it_gives_up_at_the_deadline(free_port):
    result = run("wait", free_port, "--wait", "100ms")
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[-1] == (
        f"echoclient: REFUSED 127.0.0.1:{free_port}: connection refused; gave up after 100ms"
    )
