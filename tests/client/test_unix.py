"""Unix sockets as targets."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack, suppress

import pytest

from client.kit import PATIENCE, command, environment, run, started
from echoclient.durations import Deadline
from echoclient.errors import RefusedError, TimedOutError
from echoclient.session import connect, open_session
from echoclient.target import Target
from echoclient.wait import PROBE
from support import Program


@pytest.fixture
def path(tmp_path):
    return f"{tmp_path}/echo.sock"


@pytest.fixture
def server(path):
    with Program("serve", "--listen", f"unix:{path}") as program:
        program.wait_for("listening")
        yield program


def test_each_command_talks_to_it(server, path):
    target = f"unix:{path}"
    assert run("send", "-t", target, "--expect", "echo", "hello").stdout == b"hello\n"
    assert run("connect", target, stdin=b"hello").stdout == b"hello"
    assert run("wait", target).returncode == 0
    lines = run("ping", "-c", "1", target).stdout.decode().splitlines()
    assert lines[0] == f"PING {target}: 64 bytes"
    assert lines[1].startswith(f"64 bytes from {target}: seq=1 time=")
    assert [server.wait_for("connection ended")["reason"] for _ in range(4)] == 4 * ["eof"]


def test_the_prompt_names_it(server, path, terminal):
    screen = terminal("connect", f"unix:{path}", TERM="dumb")
    screen.expect(
        f"connected to unix:{path}; /help",
    )
    screen.type("/quit\r")
    assert screen.wait() == 0


@pytest.mark.parametrize("name", ["nowhere", "file/below"])
def test_no_socket_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError) as refusal:
        connect(Target(path=f"{tmp_path}/{name}"))
    assert str(refusal.value) == f"REFUSED unix:{tmp_path}/{name}: there is no such socket"


def test_a_socket_on_which_nobody_listens_is_refused(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    with pytest.raises(RefusedError, match="connection refused"):
        connect(Target(path=path))


@pytest.fixture
def full(path):
    """A listener whose queue is full."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as waiting:
        listener.bind(path)
        listener.listen(0)
        with suppress(TimedOutError):
            while True:
                waiting.enter_context(open_session(Target(path=path), Deadline(0.01)))
        yield listener


def test_a_full_queue_is_waited_for(full, path):
    with pytest.raises(TimedOutError, match="no answer"):
        open_session(Target(path=path), Deadline(0.05))
    with started("wait", f"unix:{path}", "--wait", "0", "--timeout", "0") as process:
        while not (heard := serve_one(full)):  # those that fill the queue say nothing
            pass
        assert heard == PROBE
        assert process.wait(PATIENCE) == 0


def serve_one(listener):
    with listener.accept()[0] as connection:
        connection.settimeout(0.05)
        with suppress(TimeoutError):
            heard = connection.recv(100)
            connection.sendall(heard)
            return heard
    return b""


def test_waiting_begins_before_the_socket_is_there(path):
    target = f"unix:{path}"
    with subprocess.Popen(command("wait", target), stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stderr.readline().decode() == f"echoclient: waiting up to 30s for {target} (REFUSED)\n"
        with Program("serve", "--listen", target):
            assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to any socket")
def test_a_socket_of_others_is_named(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        os.chmod(path, 0)
        result = run("send", "-t", f"unix:{path}", "x")
    assert result.stderr.decode() == f"echoclient: OTHER unix:{path}: permission denied\n"
