"""Several processes of one server, as a test sees them from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from support import PATIENCE, Service

needs_epoll = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="several processes need Linux")


class Crew(Service):
    """A started `echoserver serve` with several processes."""

    def __init__(self, *options: object, processes: int = 2, cwd: Path | None = None, **changes: str) -> None:
        super().__init__("--processes", processes, *options, cwd=cwd, **changes)

    @property
    def workers(self) -> dict[str, int]:
        """The process IDs of the worker processes by their names, as ps(1) shows them."""
        pid = self.process.pid
        found = {}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                title = Path(f"/proc/{child}/cmdline").read_text().rstrip("\0")
                if title.startswith("echoserver: worker"):
                    found[title.removeprefix("echoserver: ")] = int(child)
        return found

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)

    def stats(self) -> dict[str, Any]:
        """Return the counters of all processes together."""
        self.send_signal(signal.SIGUSR1)
        line = self.wait_for("stats")
        assert line["accepted"] == line["active"] + sum(line["closed"].values())
        return line

    def reload(self) -> dict[str, Any]:
        """Reload, and return what the supervisor says then: that it has, or why it has not."""
        self.send_signal(signal.SIGHUP)
        while True:
            line = json.loads(self.wait_for_line("reloaded"))
            if line["event"] in ("reloaded", "not reloaded"):
                return dict(line)

    def process_of(self, peer: socket.socket) -> str:
        """Return the name of the process that serves a connection, by ending it."""
        port = peer.getsockname()[1]
        peer.close()
        return str(self.wait_for("connection ended", peer=f"127.0.0.1:{port}")["process"])


def swap(peer: socket.socket, data: bytes) -> bytes:
    """Send bytes, and return the reply to all of them."""
    peer.sendall(data)
    got = b""
    while len(got) < len(data):
        more = peer.recv(len(data) - len(got))
        assert more, f"the connection has ended after {got!r}"
        got += more
    return got


def exists(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Any, seconds: float = PATIENCE) -> None:
    """Wait until something is true that no event tells of, such as the death of another's child process."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "it has not come true in time"
        sleep(0.01)
