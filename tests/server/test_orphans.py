"""The server as process 1 of a container: it reaps orphans, and leaves a handler its own children."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from server.command_kit import connected, exchange
from support import Program, command

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
HANDLERS = """
import subprocess

def orphans(data: bytes) -> bytes:
    # The shell ends at once, and leaves a process behind that ends soon.
    for _ in range(3):
        subprocess.run(["sh", "-c", "sleep 0.01 &"], check=True)
    codes = {subprocess.run(["false"]).returncode for _ in range(20)}
    return repr(codes).encode()
"""


def may_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not may_unshare(), reason="this system doesn't allow a PID namespace (unshare --pid)")


def children(pid: int) -> dict[int, str]:
    """Return the children of all threads of a process, with their state."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                found[int(child)] = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_orphans_are_reaped_and_a_handler_gets_its_exit_codes(mode, tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    serve = command("serve", "--port", 0, "--log-format", "json", "--mode", mode, "--handler", "handlers:orphans")
    with Program(arguments=[*UNSHARE, *serve], cwd=tmp_path) as program:
        program.wait_for("listening")
        (server,) = children(program.process.pid)
        for _ in range(10):
            with connected(program) as peer:
                assert exchange(peer, b"go") == b"{1}"
        # Each SIGUSR1 that is answered comes after the reaping of what had ended before.
        while left := children(server):
            os.kill(server, signal.SIGUSR1)
            program.wait_for("threads")
            assert len(left) <= 30
        os.kill(server, signal.SIGTERM)
        assert program.finish() == 0
