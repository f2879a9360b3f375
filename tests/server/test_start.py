"""The start of the process: early signals, and what it says when it can't start."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from server.command_kit import error_of
from server.handler_kit import BUILT_IN_NAMES
from support import PATIENCE, ROOT, Program, command, environment, run

# -- signals while it starts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    "module",
    [
        "click",
        "echoserver.cli.main",
        "ipaddress",
        "echoserver.config.schema",
        "echoserver.observe.logs",
        "echoserver.server",
    ],
)
def test_a_signal_at_an_early_moment_ends_it_cleanly(module, number):
    with Program("serve", "--port", 0, PYTHONPROFILEIMPORTTIME="1") as program:
        program.wait_for_line(f" {module}")
        program.send_signal(number)
        assert program.finish() == 0
        assert not [line for line in program.lines if "Traceback" in line or "Error" in line]


IN_THE_FIRST_IMPORT = """
import os, sys

class Finder:
    # Asked about each module that is imported.
    def find_spec(self, name, path=None, target=None):
        # The imports before our own modules belong to the interpreter's start.
        if "echoserver.__main__" in sys.modules or ("echoserver" in sys.modules and name != "echoserver.__main__"):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("start", [["-m", "echoserver"], ["-c", "from echoserver.__main__ import main; main()"]])
def test_a_signal_at_the_first_import_of_ours_ends_it_cleanly(number, start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(IN_THE_FIRST_IMPORT.format(number=int(number)))
    finished = subprocess.run(
        [sys.executable, *start, "serve", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(PYTHONPATH=f"{tmp_path}:{ROOT}"),
        check=False,
    )
    assert finished.stderr == ""
    assert finished.returncode == 0


def test_nothing_is_imported_before_the_signals_are_handled():
    code = "import sys; before = set(sys.modules); import echoserver.__main__; print(*set(sys.modules) - before)"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=True
    )
    assert set(finished.stdout.split()) == {"echoserver", "echoserver.__main__"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_was_there_before_the_interpreter_is_heard(number):
    # As in the container image: the first process there has its signals blocked until it can handle them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        program = Program("serve", "--port", 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with program:
        program.send_signal(number)
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


@pytest.mark.parametrize("name", ["log-writer", "janitor", "acceptor", "watch", "drain", "spare"])
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


def test_a_shortage_of_memory_while_it_loads_is_exit_1_and_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'echoserver.server':\n"
        "            raise MemoryError\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    finished = run("serve", "--port", 0, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert finished.returncode == 1
    assert error_of(finished) == "echoserver: no memory; allow more (ulimit -v)"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "65536"], "--port: '65536' is refused: must be a whole number from 0 to 65535"),
        (["--host", ""], "--host: '' is refused: must be a text that is not empty, without control characters"),
        (
            ["--handler", "chargen", "--handler-option", "lines=-1"],
            "--handler-option: lines = '-1': must be a whole number from 0 to 1000000000000",
        ),
        (
            ["--handler", "frames", "--handler-option", "max_frame=64"],
            "--handler-option: max_frame = '64': must be a size such as 64KiB or 16MiB, from 1B to 1GiB",
        ),
        (
            ["--handler", "nix"],
            "--handler: no handler 'nix': there are " + BUILT_IN_NAMES + "; or give package.module:attribute",
        ),
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


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_what_a_plain_server_does_not_need_is_not_loaded(mode):
    """Each takes longer to load than a part of the server itself, and peers wait for it."""
    with Program("serve", "--port", 0, "--mode", mode, PYTHONPROFILEIMPORTTIME="1") as program:
        program.wait_for("listening")
        program.send_signal(signal.SIGTERM)
        assert program.finish() == 0
        loaded = {line.split("|")[-1].strip() for line in program.lines if line.startswith("import time:")}
    assert "echoserver.server" in loaded
    assert not [name for name in loaded if name.startswith(("echoserver.faults", "echoserver.serving.faulty"))]
    assert not loaded & {"structlog", "asyncio", "ssl", "random", "urllib.parse", "echoserver.net.proxy"}
