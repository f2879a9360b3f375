"""The system calls of a message: one receive and one send, and in workers mode one wait; nothing else.

`strace -c` adds up the whole process, including its start and its other threads. Instead, the calls are listed one by
one, and those of the serving thread are counted, from the first message to the last.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter

import pytest

from support import PATIENCE, Program, command

MESSAGES = 300
# The interpreter hands its lock over to waiting threads, such as the janitor a few times per second. How often depends
# on time, not on messages.
INTERPRETER_LOCK = "futex"
CALL = re.compile(r"^(\d+) +(\w+)\(")


def why_unavailable() -> str:
    """Return why strace can't be used; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def trace_of(tmp_path, *options: str) -> list[str]:
    """Serve messages under strace; return the lines of the serving thread, from the first message to the last."""
    trace = tmp_path / "trace"
    served = ["strace", "-f", "-qq", "-s", "16", "-o", str(trace)]
    served += command("serve", "--port", 0, "--log-format", "json", *options)
    with Program(arguments=served) as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            for number in range(MESSAGES + 2):
                # The first and the last message are distinct: they delimit what is counted.
                text = b"first" if number == 0 else b"final" if number == MESSAGES + 1 else b"among"
                peer.sendall(text)
                assert peer.recv(64) == text
        # strace doesn't forward signals. Signal the server itself; strace ends with it.
        traced = CALL.match(trace.read_text())
        assert traced is not None
        os.kill(int(traced[1]), signal.SIGTERM)
        assert service.finish() == 0
    lines = trace.read_text().splitlines()
    (first,) = [line for line in lines if '"first"' in line and "sendto(" in line]
    thread = first.split()[0]
    own = [line for line in lines if line.split()[0] == thread]
    (last,) = [line for line in own if '"final"' in line and "sendto(" in line]
    return own[own.index(first) + 1 : own.index(last)]


@pytest.mark.stress
@pytest.mark.skipif(sys.platform != "linux", reason="strace runs on Linux only")
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("threads", {"recvfrom": MESSAGES + 1, "sendto": MESSAGES}),
        ("workers", {"recvfrom": MESSAGES + 1, "sendto": MESSAGES, "epoll_wait": MESSAGES + 1}),
    ],
)
def test_a_message_costs_a_receive_and_a_send(tmp_path, mode, expected):
    if reason := why_unavailable():
        pytest.skip(reason)
    calls = Counter()
    for line in trace_of(tmp_path, "--mode", mode):
        if call := CALL.match(line):  # not the second half of a call that another thread's line interrupted
            calls[call[2]] += 1
    lock_calls = calls.pop(INTERPRETER_LOCK, 0)
    assert calls == expected
    assert lock_calls < MESSAGES / 10
