"""Thousands of threads in one interpreter: what is set for them, and that it is set where it should be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from echoserver.serving.interpreter import fit_switch_interval
from server.kit import PATIENCE
from support import ROOT, Service, Throng


def settings_after(*counts: int, before: str = "pass") -> tuple[float, int]:
    """Return the switch interval and the stack size of an interpreter that had so many threads, one after the other."""
    code = f"""
import sys, threading
{before}
from echoserver.serving.interpreter import fit_switch_interval, take_charge_of_threads
take_charge_of_threads()
for count in {counts}:
    fit_switch_interval(count)
print(sys.getswitchinterval(), threading.stack_size())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    interval, stack = done.stdout.split()
    return float(interval), int(stack)


@pytest.mark.parametrize(
    ("counts", "interval"),
    [((), 0.005), ((1000,), 0.005), ((2000,), 0.055), ((9000,), 0.405), ((100_000,), 0.5), ((9000, 3), 0.005)],
)
def test_the_switch_interval_grows_and_shrinks_with_the_threads(counts, interval):
    assert settings_after(*counts) == (pytest.approx(interval, rel=1e-3), 4 * 1024 * 1024)


@pytest.mark.parametrize(("own", "count", "interval"), [(0.1, 2000, 0.15), (0.6, 2000, 0.6)])
def test_an_interval_that_was_set_before_grows_too_and_never_shrinks(own, count, interval):
    assert settings_after(count, before=f"sys.setswitchinterval({own})")[0] == pytest.approx(interval, rel=1e-3)


def test_an_embedding_program_keeps_its_own():
    before = sys.getswitchinterval(), threading.stack_size()
    fit_switch_interval(9000)
    assert (sys.getswitchinterval(), threading.stack_size()) == before


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_no_peer_overflows_the_stack_of_a_handler(tmp_path, mode):
    """A crash of the interpreter would end every connection. The handler's own error ends one."""
    (tmp_path / "nested.py").write_text(
        "import json\n\ndef nested(data):\n    return repr(json.loads(data)).encode()\n"
    )
    options = ("--handler", "nested:nested", "--mode", mode)
    with Service(*options, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)])) as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(b"[" * 60_000)
            assert peer.recv(1) == b""
        ended = service.wait_for("connection ended")
        assert ended["reason"] == "handler"
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(b"[[1]]")
            assert peer.recv(100) == b"[[1]]"


def test_two_thousand_at_once_are_all_answered():
    """Each on a thread of its own, and each sends before the first reads."""
    with Service("--max-connections", 2000) as service, Throng(service.address, 2000) as throng:
        throng.exchange_at_once()
