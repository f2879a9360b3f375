"""The command with `--listen`: what it inherits, what it refuses, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import tomllib
from collections.abc import Iterator
from contextlib import closing

import pytest

from server.kit import Peer
from support import PATIENCE, Program, activated, run

JSON = ("--log-format", "json")
ENVIRONMENT = """
import os

def names(data):
    return ",".join(sorted(name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_")))).encode() + b"."
"""


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE)
        yield sock


@pytest.fixture
def manager(tmp_path) -> Iterator[socket.socket]:
    """The socket of a service manager, at `notify` in the test's folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        yield sock


def stop(program: Program) -> None:
    program.send_signal(signal.SIGTERM)
    assert program.finish() == 0


def test_sockets_from_systemd_are_served_and_its_variables_removed(tmp_path, bound, manager):
    (tmp_path / "environment.py").write_text(ENVIRONMENT)
    command = ("serve", *JSON, "--listen", "systemd:echo", "--handler", "environment:names")
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        activated(
            [other, bound], "other:echo", *command, cwd=tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")
        ) as program,
    ):
        address = bound.getsockname()
        assert program.wait_for("listening")["endpoint"] == "tcp://{}:{}".format(*address)
        with Peer(address) as peer:
            assert peer.swap(b"?") == b"."
        assert manager.recv(1000).decode() == "READY=1\nSTATUS=serving on tcp://{}:{}".format(*address)
        stop(program)
        # The peer has read to the end, which comes a moment before its connection leaves the books.
        assert re.fullmatch(rb"STOPPING=1\nSTATUS=draining [01] connections", manager.recv(1000))
        with Peer(address), closing(bound.accept()[0]):  # it has been closed, and not shut down
            pass


def test_a_descriptor_is_served(bound):
    with activated([bound], "", "serve", *JSON, "--listen", "fd:3") as program:
        program.wait_for("listening", address="{}:{}".format(*bound.getsockname()))
        with Peer(bound.getsockname()) as peer:
            assert peer.swap(b"hello") == b"hello"
        stop(program)


def test_a_unix_socket_is_served_and_goes(tmp_path):
    path = str(tmp_path / "echo.sock")
    with Program("serve", *JSON, "--listen", f"unix:{path}?mode=0600") as program:
        assert program.wait_for("listening")["endpoint"] == f"unix:{path}?mode=0600"
        assert os.stat(path).st_mode & 0o777 == 0o600
        with Peer(path) as peer:
            assert peer.exchange(b"hello") == b"hello"
            assert run("healthcheck", ECHOSERVER_LISTEN=f"unix:{path}").returncode == 0
            second = run("serve", "--listen", f"unix:{path}")
            assert (second.returncode, len(second.stderr.splitlines())) == (1, 1)
            assert "another program listens there" in second.stderr
        stop(program)
    assert not os.path.lexists(path)


def test_a_killed_server_does_not_stop_the_next_one(tmp_path):
    path = str(tmp_path / "echo.sock")
    for how in (signal.SIGKILL, signal.SIGTERM):
        with Program("serve", *JSON, "--listen", f"unix:{path}") as program:
            program.wait_for("listening")
            program.send_signal(how)
            program.finish()
            assert os.path.lexists(path) == (how == signal.SIGKILL)


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("fd:77", "fd:77 is refused: descriptor 77 is not a socket (Bad file descriptor); must be one that listens"),
        (
            "systemd:echo",
            "systemd:echo is refused: systemd has passed no socket of that name to this process; "
            "it has passed none (LISTEN_FDS and LISTEN_PID)",
        ),
        ("unix:/" + "x" * 107, "unix:/PATH with a path of at most 107 bytes (in a file, a list)"),
        ("unix:@echo", "an abstract name has no permissions, so any local user could connect (in a file, a list)"),
        (
            "udp://localhost:1",
            "tcp://HOST:PORT, tls://HOST:PORT, unix:/PATH, fd:NUMBER or systemd:NAME (in a file, a list)",
        ),
    ],
)
def test_a_wrong_endpoint_is_refused_in_one_line_before_anything_is_bound(tmp_path, endpoint, problem):
    file = tmp_path / "echo.sock"
    finished = run("serve", "--listen", f"unix:{file}", "--listen", endpoint)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("echoserver: --listen: ")
    assert line.endswith(problem)
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_printed_as_a_list():
    finished = run("config", "--listen", "tcp://[::]:9000", "--listen", "unix:/run/echo.sock?mode=0660")
    assert tomllib.loads(finished.stdout)["listen"] == ["tcp://[::]:9000", "unix:/run/echo.sock"]
    assert "# --listen" in finished.stdout


@pytest.mark.parametrize("endpoint", ["fd:3", "systemd:echo"])
def test_healthcheck_says_that_it_cannot_ask_an_inherited_socket(endpoint):
    finished = run("healthcheck", ECHOSERVER_LISTEN=endpoint)
    assert finished.returncode == 1
    problem = f"the address of {endpoint} is known only to what passed the socket: check that address"
    assert finished.stderr == f"echoserver: {problem}\n"


def test_healthcheck_asks_the_first_endpoint(tmp_path, bound):
    first = f"unix:{tmp_path}/echo.sock"
    finished = run("healthcheck", ECHOSERVER_LISTEN=f"{first}\ntcp://127.0.0.1:{bound.getsockname()[1]}")
    assert finished.returncode == 1
    assert finished.stderr == f"echoserver: no exchange with {first}: No such file or directory\n"


def test_a_manager_is_told_nothing_by_a_server_that_cannot_start(tmp_path, manager):
    finished = run("serve", "--listen", "fd:77", NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert finished.returncode == 2
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)
