"""Peers that must not notice a reload: those that come and go, those that are silent, and those that never pause."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bench.native import has_tls, program
from support import Program

PATIENCE = 30.0
PERIOD = bytes(range(251))

Connect = Callable[[], socket.socket]


class Quiet(Program):
    """Two processes that log no connections, of which there are thousands a second.

    They say that they are ready, and that a reload is done, as they say it to a service manager (sd_notify(3)).
    """

    def __init__(self, *options: object, cwd: Path) -> None:
        path = cwd / "notify.sock"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(os.fspath(path))
        self._manager.settimeout(PATIENCE)
        level = ("--log-level", "warning", "--max-connections", 2000)
        super().__init__("serve", "--processes", 2, *level, *options, NOTIFY_SOCKET=os.fspath(path))
        self._hear("READY=1")

    def __exit__(self, *_: object) -> None:
        self._manager.close()
        super().__exit__()

    def reload(self) -> None:
        """Reload, and wait until only new processes accept."""
        self.send_signal(signal.SIGHUP)
        self._hear("RELOADING=1")
        said = self._hear("READY=1")
        assert "not reloaded" not in said, said

    def port(self) -> int:
        """Return the port, which no log line tells."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        sockets = {os.readlink(link) for link in folder.iterdir()}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                return int(fields[1].rpartition(":")[2], 16)
        raise AssertionError("it does not listen")

    def _hear(self, word: str) -> str:
        while word not in (said := self._manager.recv(4096).decode()):
            pass
        return said


class Generator:
    """Connect, exchange, close, on many connections at once, in C. Any error or wrong byte ends it with status 1.

    Parameters
    ----------
    port:
        Where the server listens on 127.0.0.1.
    seconds:
        For how long.
    tls:
        Whether over TLS.

    """

    def __init__(self, port: int, seconds: float, *, tls: bool) -> None:
        path = program("loadgen")
        assert path is not None
        assert has_tls() or not tls
        arguments = [path, "-p", port, "-c", 8, "-s", 64, "-t", seconds, "-x", *(["-T"] if tls else [])]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen([str(word) for word in arguments], text=True, **pipes)  # type: ignore[call-overload]
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def finish(self) -> str:
        """Wait for the end, and return what went wrong."""
        _, errors = self._process.communicate(timeout=PATIENCE)
        return str(errors)


class Peers:
    """Threads that talk to the server until they are told to end. What goes wrong is kept."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failures: list[str] = []
        self.exchanged = 0
        self.bytes = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, talk: Callable[[], None], count: int) -> None:
        for _ in range(count):
            self._threads.append(threading.Thread(target=self._run, args=(talk,)))
            self._threads[-1].start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def come_and_go(self) -> None:
        """Connect, exchange, close, again and again."""
        while not self._ending.is_set():
            with self._connect() as peer:
                if swap(peer, b"hello") != b"hello":
                    raise ValueError("wrong bytes")
            with self._lock:
                self.exchanged += 1

    def stream(self) -> None:
        """Send without a pause on one connection, and compare every byte that comes back."""
        block, at, moved = PERIOD * 70, 0, 0
        with self._connect() as peer:
            while not self._ending.is_set():
                data = block[at : at + 16_384]
                if swap(peer, data) != data:
                    raise ValueError("wrong bytes")
                at, moved = (at + len(data)) % len(PERIOD), moved + len(data)
        with self._lock:
            self.bytes += moved

    def _run(self, talk: Callable[[], None]) -> None:
        try:
            talk()
        except (OSError, ValueError, EOFError) as error:
            self.failures.append(f"{talk.__name__}: {error!r}")


def swap(peer: socket.socket, data: bytes) -> bytes:
    """Send bytes and return as many."""
    peer.sendall(data)
    got = bytearray()
    while len(got) < len(data):
        more = peer.recv(len(data) - len(got))
        if not more:
            raise EOFError(f"the end after {len(got)} of {len(data)} bytes")
        got += more
    return bytes(got)


def over_tcp(port: int) -> Connect:
    return lambda: socket.create_connection(("127.0.0.1", port), PATIENCE)


def over_unix(path: Path) -> Connect:
    def connect() -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE)
        peer.connect(os.fspath(path))
        return peer

    return connect


def over_tls(port: int) -> Connect:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return lambda: context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE))
