"""Ten thousand connections, one after another, leave nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest

import echoserver.serving.threads
from echoserver.serving.connection import Connection
from server.kit import PATIENCE, wait_until_idle

CONNECTIONS = 10_000
# It runs in a process of its own, since client and server would otherwise compete for one interpreter lock.
CLIENT = """
import socket, sys
host, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for _ in range(connections):
    with socket.socket() as peer:
        peer.connect((host, port))
        peer.sendall(b"hello")
        assert peer.recv(5, socket.MSG_WAITALL) == b"hello"
"""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def connections() -> int:
    return sum(type(thing) is Connection for thing in gc.get_objects())


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_ten_thousand_connections_leave_nothing(serve, connect, monkeypatch):
    monkeypatch.setattr(echoserver.serving.threads, "IDLE_SECONDS", 0.2)
    server = serve()
    assert connect(server).swap(b"hello") == b"hello"  # so that every thread has started
    wait_until_idle(server)
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("conn-")}
    gc.collect()
    before, before_connections = descriptors(), connections()
    host, port = server.address
    command = [sys.executable, "-S", "-c", CLIENT, host, str(port), str(CONNECTIONS)]
    subprocess.run(command, check=True, timeout=50)
    wait_until_idle(server)
    stats = server.stats()
    assert (stats.accepted, stats.active) == (1 + CONNECTIONS, 0)
    assert stats.closed["eof"] == stats.accepted
    assert stats.bytes_in == stats.bytes_out == 5 * stats.accepted
    # Serving threads wait a while for further connections before they end.
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert descriptors() == before
    assert connect(server).swap(b"hello") == b"hello"
    wait_until_idle(server)
    server.stop()
    gc.collect()
    assert connections() <= before_connections
