"""The command, as people and scripts run it: a process with arguments, signals, output and an exit code."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import tomllib
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import pytest

from echoserver.config import default_of, flag_of, options
from support import PATIENCE, ROOT, Program, Service, command, environment, run

OPTIONS = dict(options())
HANDLERS = """
import threading
from echoserver import Handler

class Slow(Handler):
    '''Answer when the peer has half-closed.'''
    def feed(self, data: bytes) -> bytes:
        self.heard = data
        return b""
    def finish(self) -> bytes:
        return self.heard

def stuck(data: bytes) -> bytes:
    threading.Event().wait()

def broken(data: bytes) -> bytes:
    raise SystemExit(data.decode())
"""


@pytest.fixture
def handlers(tmp_path):
    """Return a folder with a module of handlers, for a process to run in."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


@contextmanager
def connected(service: Program):
    with socket.create_connection(service.address, PATIENCE) as peer:
        yield peer


def exchange(peer: socket.socket, data: bytes) -> bytes:
    peer.sendall(data)
    return peer.recv(65536)


def wait_for_connection(service: Program, **facts: object) -> dict:
    """Ask for the list of connections until one is as wanted, and return it."""
    while True:
        seen = len(service.events)
        service.send_signal(signal.SIGUSR1)
        service.wait_for("threads")  # the last line of the answer
        for event in service.events[seen:]:
            if {"event": "connection", **facts}.items() <= event.items():
                return event


def error_of(finished: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command which failed prints, without its newline."""
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.endswith("\n")
    return finished.stderr.removesuffix("\n")


# -- serve


def test_it_serves_says_where_and_drains_on_sigterm():
    with Service() as service:
        with connected(service) as peer:
            assert exchange(peer, b"hello") == b"hello"
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b""
        ended = service.wait_for("connection ended")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
        listening, last = service.events[0], service.events[-1]
    assert listening["event"] == "listening"
    assert listening["address"] == f"127.0.0.1:{listening['port']}"
    assert (listening["handler"], listening["mode"]) == ("echo", default_of("mode"))
    assert (ended["id"], ended["bytes_in"], ended["bytes_out"], ended["replies"], ended["reason"]) == (
        1,
        5,
        5,
        1,
        "eof",
    )
    assert last["event"] == "stopped"
    assert (last["accepted"], last["active"], last["closed"]["eof"], last["cut"]) == (1, 0, 1, [])
    assert last["log_dropped"] == 0


def test_it_stops_on_sigint_as_well():
    with Service() as service:
        service.send_signal(signal.SIGINT)
        assert service.wait_for("draining")["cause"] == "SIGINT"
        assert service.finish() == 0


def test_what_had_arrived_is_answered_before_it_stops(handlers):
    with Service("--handler", "handlers:Slow", cwd=handlers) as service, connected(service) as peer:
        peer.sendall(b"hello")
        wait_for_connection(service, bytes_in=5)
        service.send_signal(signal.SIGTERM)
        assert peer.recv(100) == b"hello"
        assert service.finish() == 0
        assert service.events[-1]["cut"] == []


def test_a_second_signal_cuts(handlers):
    with (
        Service("--handler", "handlers:stuck", "--drain-timeout", "0", cwd=handlers) as service,
        connected(service) as peer,
    ):
        peer.sendall(b"hello")
        name = wait_for_connection(service, phase="handling")["peer"]
        service.send_signal(signal.SIGTERM)
        service.wait_for("draining", connections=1, cause="SIGTERM")
        service.send_signal(signal.SIGINT)
        service.wait_for("cutting", connections=1, cause="SIGINT")
        assert service.finish() == 0
        assert service.events[-1]["cut"] == [f"1 {name}"]


def test_the_drain_timeout_cuts(handlers):
    with (
        Service("--handler", "handlers:stuck", "--drain-timeout", "1ms", cwd=handlers) as service,
        connected(service) as peer,
    ):
        peer.sendall(b"hello")
        name = wait_for_connection(service, phase="handling")["peer"]
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
        assert service.events[-1]["cut"] == [f"1 {name}"]


def test_sigusr1_logs_counters_connections_and_threads():
    with Service() as service, connected(service) as peer:
        assert exchange(peer, b"hello") == b"hello"
        assert exchange(peer, b"again") == b"again"
        service.send_signal(signal.SIGUSR1)
        stats = service.wait_for("stats")
        connection = service.wait_for("connection")
        threads = service.wait_for("threads")
        assert connection["peer"] == "{}:{}".format(*peer.getsockname())
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
    assert (stats["accepted"], stats["active"], stats["bytes_in"]) == (1, 1, 10)
    assert (connection["id"], connection["bytes_in"]) == (1, 10)
    # What was sent is counted when it has been sent: of the second reply that may be a moment later than it arrives.
    assert connection["bytes_out"] in (5, 10)
    assert connection["replies"] in (1, 2)
    assert connection["phase"] in ("receiving", "sending")
    assert {"MainThread", "acceptor", "janitor", "log-writer", "conn-1"} <= set(threads["names"])


def test_the_statistics_are_logged_regularly():
    with Service("--stats-interval", "10ms") as service:
        service.wait_for("stats", accepted=0)
        with connected(service):
            service.wait_for("stats", accepted=1, active=1)
        service.wait_for("stats", active=0)
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_a_health_probe_makes_no_news():
    with Service("--log-level", "debug") as service:
        with connected(service):
            pass
        assert service.wait_for("connection ended")["level"] == "debug"
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_a_handler_that_raises_is_logged_with_its_traceback_and_costs_its_peer_alone(handlers):
    with Service("--handler", "handlers:broken", cwd=handlers) as service:
        with connected(service) as peer:
            assert exchange(peer, b"17") == b""
        ended = service.wait_for("connection ended")
        assert (ended["level"], ended["reason"]) == ("error", "handler")
        assert ended["exception"].endswith("SystemExit: 17")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_on_a_terminal_lines_are_for_people():
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            command("serve", "--port", 0), stdin=slave, stdout=slave, stderr=slave, env=environment()
        )
        os.close(slave)
        try:
            shown = ""
            while "mode=" not in re.sub(r"\x1b\[[0-9;]*m", "", shown):
                assert select.select([master], [], [], PATIENCE)[0]
                shown += os.read(master, 65536).decode()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(master)
    assert "\x1b[" in shown
    assert "{" not in shown


def test_a_log_that_nobody_reads_any_more_does_not_keep_it_from_ending():
    with Service() as service:
        clog = os.open(f"/proc/{service.process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(clog, b"\n")
        except BlockingIOError:
            os.close(clog)
        with connected(service) as peer:
            assert exchange(peer, b"hello") == b"hello"
        service.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0


# -- signals while it starts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "module",
    ["click", "echoserver.cli.main", "ipaddress", "echoserver.config.schema", "structlog", "echoserver.server"],
)
def test_a_signal_at_an_early_moment_ends_it_cleanly(module, number):
    with Program("serve", "--port", 0, PYTHONPROFILEIMPORTTIME="1") as program:
        program.wait_for_line(f" {module}")
        program.send_signal(number)
        assert program.finish() == 0
        assert not [line for line in program.lines if "Traceback" in line or "Error" in line]


def test_a_signal_that_was_there_before_the_interpreter_is_heard():
    # As in the container image: the first process there has its signals blocked until it can handle them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        program = Program("serve", "--port", 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with program:
        program.send_signal(signal.SIGTERM)
        assert program.finish() == 0
        assert program.lines == []


def test_asking_for_statistics_too_early_ends_nothing():
    with Program("serve", "--port", 0, "--log-format", "json", PYTHONPROFILEIMPORTTIME="1") as program:
        program.wait_for_line(" click")
        program.send_signal(signal.SIGUSR1)
        program.wait_for("listening")
        program.send_signal(signal.SIGTERM)
        assert program.finish() == 0


# -- exit codes and their lines


def test_an_address_in_use_is_exit_1_and_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        finished = run("serve", "--port", port)
    assert finished.returncode == 1
    assert error_of(finished).startswith(
        f"echoserver: cannot listen on 127.0.0.1:{port}: another program listens there: "
    )


@pytest.mark.parametrize("name", ["log-writer", "janitor", "acceptor", "watch", "drain"])
def test_a_shortage_of_threads_at_the_start_is_exit_1_and_one_line(name, tmp_path):
    # Python runs a sitecustomize.py on its path before anything else.
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\n"
        "start = threading.Thread.start\n"
        "def fail(thread):\n"
        f"    if thread.name == {name!r}:\n"
        '        raise RuntimeError("can\'t start new thread")\n'
        "    start(thread)\n"
        "threading.Thread.start = fail\n"
    )
    finished = run("serve", "--port", 0, "--log-level", "error", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert finished.returncode == 1
    assert error_of(finished).startswith("echoserver: cannot start: can't start new thread; allow more processes ")


def test_a_shortage_of_memory_at_the_start_is_exit_1_and_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, mmap\n"
        "def none(*_, **__):\n"
        '    raise OSError(errno.ENOMEM, "Cannot allocate memory")\n'
        "mmap.mmap = none\n"
    )
    finished = run("serve", "--port", 0, "--mode", "workers", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert finished.returncode == 1
    assert error_of(finished) == (
        "echoserver: cannot start: no memory to receive into: Cannot allocate memory; "
        "allow more memory, or fewer workers"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "65536"], "--port: '65536' is refused: must be a whole number from 0 to 65535"),
        (["--host", ""], "--host: '' is refused: must be a text that is not empty, without control characters"),
        (["--handler", "nix"], "--handler: no handler 'nix': there are echo, upper; or give package.module:attribute"),
        (["--handler-option", "a=1"], "--handler-option: handler echo has no option 'a': it takes no options"),
        (
            ["--config", "nowhere.toml"],
            "--config: can't read 'nowhere.toml': No such file or directory; must be a TOML file",
        ),
    ],
)
def test_a_bad_configuration_is_exit_2_and_one_line(arguments, line):
    finished = run("serve", *arguments)
    assert finished.returncode == 2
    assert error_of(finished) == f"echoserver: {line}"


def test_config_refuses_what_serve_refuses():
    finished = run("config", "--handler", "nix")
    assert finished.returncode == 2
    assert error_of(finished).startswith("echoserver: --handler: no handler 'nix': ")


def test_a_bad_variable_is_exit_2_and_one_line():
    finished = run("serve", ECHOSERVER_IDLE_TIMEOUT="soon")
    assert finished.returncode == 2
    assert error_of(finished).startswith("echoserver: ECHOSERVER_IDLE_TIMEOUT: 'soon' is refused: must be a duration ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["serve", "--prot", "1"], "No such option"),
        (["serve", "--port"], "requires an argument"),
        (["serve", "9000"], "unexpected extra argument"),
        (["server"], "No such command"),
    ],
)
def test_bad_usage_is_exit_2_and_says_what(arguments, problem):
    finished = run(*arguments)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert problem in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_full_disk_under_the_output_is_exit_1_and_one_line():
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            command("config"), stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), timeout=PATIENCE
        )
    assert finished.returncode == 1
    assert finished.stderr == "echoserver: No space left on device\n"


def test_a_reader_that_goes_away_is_no_traceback():
    shell = 'exec 3>&1; { "$@"; echo "code $?" >&3; } | true'
    finished = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *command("config")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
    )
    assert finished.stderr == ""
    assert finished.stdout in ("code 0\n", "code 1\n"), "it may have been done before"


def test_a_closed_standard_error_is_not_taken_for_a_peer(tmp_path):
    # The first socket would get the free number 2, and every log line would go to whoever has that connection.
    (tmp_path / "probe.py").write_text("import os\nprint(os.readlink('/proc/self/fd/2'))\ndef handler(data): pass\n")
    finished = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command("config", "--handler", "probe:handler")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
        timeout=PATIENCE,
    )
    assert finished.returncode == 0
    assert finished.stdout.startswith("/dev/null\n")


# -- config


def test_config_prints_what_serve_reads_back(tmp_path):
    first = run("config", "--handler", "upper", "--handler-option", "encoding=utf-8", ECHOSERVER_PORT="1234")
    assert first.returncode == 0
    assert first.stderr == ""
    assert 'handler = "upper"  # --handler\n' in first.stdout
    assert "port = 1234  # ECHOSERVER_PORT\n" in first.stdout
    assert 'host = "127.0.0.1"  # default\n' in first.stdout
    assert first.stdout.endswith('\n[handler_options]  # --handler-option\nencoding = "utf-8"\n')
    path = tmp_path / "effective.toml"
    path.write_text(first.stdout)
    again = run("config", "--config", path)
    assert tomllib.loads(again.stdout) == tomllib.loads(first.stdout)
    assert set(tomllib.loads(first.stdout)) == set(OPTIONS)
    assert again.stdout.count(f"# {path}") == len(OPTIONS)


def test_config_reads_the_file_that_the_environment_names():
    finished = run("config", cwd=ROOT, ECHOSERVER_CONFIG="config/docker.toml")
    assert 'host = "0.0.0.0"  # config/docker.toml\n' in finished.stdout


# -- handlers


def test_handlers_lists_them_with_a_line_and_their_options():
    finished = run("handlers")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "\x1b" not in finished.stdout
    assert re.search(r"^echo  Send every byte back as it came \(RFC 862\)\.$", finished.stdout, re.MULTILINE)
    assert re.search(r"^    --handler-option encoding=TEXT  .*  \[default: ascii\]$", finished.stdout, re.MULTILINE)


# -- healthcheck


@pytest.mark.parametrize(
    "options",
    [["--handler", "echo"], ["--handler", "upper"], ["--handler", "upper", "--handler-option", "encoding=utf-8"]],
)
def test_healthcheck_is_0_with_every_built_in_handler(options):
    with Service(*options) as service:
        host, port = service.address
        finished = run("healthcheck", ECHOSERVER_HOST=host, ECHOSERVER_PORT=str(port), ECHOSERVER_HANDLER=options[1])
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_healthcheck_reads_the_file_of_the_server(tmp_path):
    path = tmp_path / "echoserver.toml"
    with Service("--host", "0.0.0.0") as service:
        path.write_text(f'host = "0.0.0.0"\nport = {service.address[1]}\n')
        assert run("healthcheck", "--config", path).returncode == 0
        assert run("healthcheck", ECHOSERVER_CONFIG=str(path)).returncode == 0
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ([], {"ECHOSERVER_PORT": "0"}),
        ([], {"ECHOSERVER_PROT": "1"}),
        ([], {"ECHOSERVER_CONFIG": "/nowhere"}),
        (["--config", ""], {}),
        (["--timeout", "soon"], {}),
        (["--no-such-option"], {}),
    ],
)
def test_healthcheck_is_1_whatever_is_wrong(arguments, variables):
    finished = run("healthcheck", *arguments, **variables)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr
    assert "Traceback" not in finished.stderr


def test_healthcheck_is_1_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    finished = run("healthcheck", ECHOSERVER_PORT=str(port))
    assert finished.returncode == 1
    assert error_of(finished) == f"echoserver: no exchange with 127.0.0.1 port {port}: Connection refused"


def test_healthcheck_is_1_where_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        finished = run("healthcheck", "--timeout", "50ms", ECHOSERVER_PORT=str(port))
    assert finished.returncode == 1
    assert error_of(finished) == f"echoserver: no answer from 127.0.0.1 port {port} in time"


# -- help and version


@pytest.mark.parametrize("subcommand", [[], ["serve"], ["config"], ["handlers"], ["healthcheck"]])
def test_help_is_exit_0_with_an_example(subcommand):
    finished = run(*subcommand, "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "Example: " in finished.stdout


def test_help_has_every_option_with_its_default():
    shown = " ".join(run("serve", "--help").stdout.split())
    for name, option in OPTIONS.items():
        assert f"{flag_of(name)} {option.kind.metavar} " in shown
        assert option.help in shown
        default = option.kind.show(default_of(name))
        assert default in ({}, []) or f"[default: {default}]" in shown


def test_version():
    try:
        expected = version("echoserver")
    except PackageNotFoundError:
        pytest.skip("runs from the checkout, not installed")
    assert run("--version").stdout == f"echoserver {expected}\n"
