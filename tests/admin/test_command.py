"""The commands `serve --admin` and `ctl`, as processes."""

from __future__ import annotations

import json
import os
import signal
import socket
from time import monotonic

import pytest

from echoserver.admin.client import AskError, ask
from echoserver.net.endpoint import parse_endpoint
from server.command_kit import connected, exchange
from support import Program, Service, command, run


@pytest.fixture
def path(tmp_path):
    return tmp_path / "admin.sock"


def ctl(path, *arguments: object, **changes: str):
    return run("ctl", "--admin", f"unix:{path}", *arguments, **changes)


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_a_running_server_is_observed_and_controlled(path, mode):
    with Service("--admin", f"unix:{path}", "--mode", mode) as service:
        service.wait_for("admin listening")
        with connected(service) as peer:
            assert exchange(peer, b"hello") == b"hello"
            lines = ctl(path, "status").stdout.splitlines()
            assert lines[0].startswith("echoserver ")
            assert "1 of 1,024 open, 1 accepted" in lines[2]
            listed = ctl(path, "connections").stdout.splitlines()
            assert listed[0].split()[:3] == ["id", "peer", "endpoint"]
            assert listed[1].split()[0] == "1"
            assert json.loads(ctl(path, "--json", "connections").stdout)["total"] == 1
            assert "has sent nothing for" in ctl(path, "why", "1").stdout
            assert "nothing is wrong" in ctl(path, "why").stdout
            assert "janitor" in ctl(path, "threads").stdout
            assert ctl(path, "faults", "delay=1ms", "--seed", "7").stdout.splitlines() == ["delay=1ms", "seed 7"]
            assert ctl(path, "faults", "--clear").stdout.splitlines()[0] == "no faults"
            assert ctl(path, "log-level", "debug").stdout == "debug\n"
            assert ctl(path, "reload").stdout.startswith("reloaded; changed: ")
            assert ctl(path, "kill", "1").stdout == "killed 1\n"
            assert service.wait_for("connection killed")["by"] == f"admin pid={last_pid(service)},uid={os.getuid()}"
            assert peer.recv(1) == b""
        assert ctl(path, "drain").stdout == "draining 0 connections\n"
        assert service.finish() == 0
    assert not path.exists()
    assert service.wait_for("draining")["cause"] == "admin"


def last_pid(service: Service) -> str:
    (line,) = [line for line in service.events if line["event"] == "connection killed"]
    return str(line["by"]).partition("pid=")[2].partition(",")[0]


def test_what_ctl_can_not_do_is_one_line(path):
    for done, code, problem in (
        (ctl(path, "status"), 1, "no server answers at unix:"),
        (run("ctl", "status"), 2, "--admin: is missing"),
        (run("ctl", "--admin", "nonsense", "status"), 2, "--admin: 'nonsense' is refused"),
    ):
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert problem in done.stderr
    with Service("--admin", f"unix:{path}") as service:
        service.wait_for("admin listening")
        for arguments, problem in (
            (("kill", "7"), "there is no open connection 7"),
            (("faults", "nonsense"), "nonsense"),
            (("log-level", "loud"), "'loud' is refused"),
            (("connections", "--sort", "x"), "sort"),
        ):
            done = ctl(path, *arguments)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert problem in done.stderr


def test_another_server_is_no_admin_endpoint():
    with Service() as service, pytest.raises(AskError, match="is not the admin endpoint"):
        ask(parse_endpoint(f"tcp://127.0.0.1:{service.address[1]}"), "", "GET", "/nothing")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--admin", "tcp://0.0.0.0:0"], "other machines can connect; give admin_token_file"),
        (["--admin", "tcp://127.0.0.1:0", "--admin-token-file", "nowhere"], "No such file"),
        (["--admin", "tcp://127.0.0.1:0", "--admin-token-file", "open"], "others can read it; chmod 600"),
        (["--admin", "tcp://127.0.0.1:0", "--admin-token-file", "short"], "at least 16"),
        (["--admin-token-file", "short"], "has no effect without --admin"),
        (["--admin", "tcp://127.0.0.1:0", "--processes", "2"], "can't be combined with processes"),
    ],
)
def test_an_endpoint_that_would_be_open_to_others_is_refused_before_anything_is_bound(tmp_path, options, problem):
    for name, text, mode in (("open", "0123456789abcdef", 0o644), ("short", "secret", 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    done = run("serve", "--port", 0, "--log-format", "json", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert problem in done.stderr


def test_without_its_packages_the_endpoint_is_refused_in_one_line(tmp_path):
    (tmp_path / "h11.py").write_text("raise ImportError('no', name='h11')\n")
    done = run("serve", "--port", 0, "--admin", f"unix:{tmp_path}/a", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "pip install 'echoserver[admin]'" in done.stderr


def test_the_server_is_not_ready_while_it_waits_for_the_drain_to_begin(path):
    with Service("--admin", f"unix:{path}", "--drain-delay", "1h") as service:
        service.wait_for("admin listening")
        endpoint = parse_endpoint(f"unix:{path}")
        service.send_signal(signal.SIGTERM)
        service.wait_for("draining")
        assert ask(endpoint, "", "GET", "/api/v1/snapshot")["state"] == "draining"
        with pytest.raises(AskError, match="status 503"):
            ask(endpoint, "", "GET", "/readyz")
        with connected(service) as peer:
            assert exchange(peer, b"still accepted") == b"still accepted"
        begun = monotonic()
        service.send_signal(signal.SIGTERM)  # the second one waits for nothing
        assert service.finish() == 0
        assert monotonic() - begun < 5


def test_the_drain_begins_after_its_delay():
    with Service("--drain-delay", "200ms") as service, connected(service) as peer:
        assert exchange(peer, b"hello") == b"hello"
        begun = monotonic()
        service.send_signal(signal.SIGTERM)
        assert peer.recv(1) == b""
        assert monotonic() - begun >= 0.2
        assert service.finish() == 0


def test_nothing_of_it_is_loaded_where_it_is_not_asked_for(tmp_path):
    code = (
        "import sys, threading\n"
        "from echoserver import Server, ServerConfig\n"
        "with Server(ServerConfig(port=0)): pass\n"
        "import echoserver.cli.serve\n"
        "print([name for name in sys.modules if 'echoserver.admin' in name or name in ('h11', 'prometheus_client')])"
    )
    with Program(arguments=[*command()[:1], "-c", code.replace("print(", "print(file=sys.stderr, *")]) as program:
        assert program.finish() == 0
    assert [line for line in program.lines if "admin" in line or "h11" in line] == []


def test_an_address_in_use_is_refused(path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", 0, "--admin", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "another program listens there" in done.stderr
    assert "Traceback" not in done.stderr
