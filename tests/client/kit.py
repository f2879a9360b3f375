"""What the client's tests use: a server whose behaviour they define, the command line, and a terminal.

Nothing here sleeps. A test waits for a line, an event or the end of a stream, and `PATIENCE` only bounds how long a
defect can make it wait.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 20.0
CLIENT = Path(__file__).parents[2] / "client"
ESCAPE_SEQUENCE = re.compile(rb"\x1b(\[[0-9;?]*[a-zA-Z]|[()][AB0]|[=>78])")
# The two front ends of the prompt: prompt_toolkit's, and readline's.
FULL = {"TERM": "xterm-256color"}
DUMB = {"TERM": "dumb"}
both = pytest.mark.parametrize("front_end", [FULL, DUMB], ids=["full", "dumb"])
# Without the blank after it: prompt_toolkit moves the cursor over blanks instead of writing them.
PROMPT = ">"
CTRL_D = b"\x04"

Manners = Callable[[socket.socket], None]


class Peer:
    """A server with a thread for each connection, which runs the test's function on it and then closes it."""

    def __init__(self, manners: Manners, *, port: int = 0) -> None:
        self._manners = manners
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._guard = threading.Lock()  # of the two lists
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="peer-accept")]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A daemon, so that a function that never returns fails the test and does not hang the run.
            thread = threading.Thread(target=self._serve, args=(connection,), name="peer-serve", daemon=True)
            with self._guard:
                self._connections.append(connection)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client may close the connection, as many tests do
            self._manners(connection)

    def stop(self) -> None:
        """Break every connection and end every thread. May be called twice."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} does not end"


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def upper(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data.upper())
    connection.shutdown(socket.SHUT_WR)


def hold(connection: socket.socket) -> None:
    """Read and send nothing until the client has closed the connection or the test is over."""
    poll = select.poll()
    poll.register(connection, 0)  # reports only a hang-up
    poll.poll()


def reset(connection: socket.socket) -> None:
    """Break the connection: the kernel sends RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, f"the client ended after {len(data)} of {size} bytes"
        data += more
    return data


def environment(**changes: str | None) -> dict[str, str]:
    """The environment for a client process: ours, this checkout's client, and the changes; None removes a variable."""
    path = os.pathsep.join([str(CLIENT), *filter(None, [os.environ.get("PYTHONPATH")])])
    merged = {**os.environ, "PYTHONPATH": path, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "echoclient", *map(str, arguments)]


def run(*arguments: object, stdin: bytes = b"", **changes: str | None) -> subprocess.CompletedProcess[bytes]:
    """Run `echoclient` to its end."""
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, timeout=PATIENCE, env=environment(**changes), check=False
    )


@contextmanager
def started(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start `echoclient`, with pipes as its three streams by default; it is killed if it still runs at the end."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen(command(*arguments), env=environment(), **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


class Terminal:
    """A process in a pseudo-terminal: the test types, and reads what is shown."""

    def __init__(self, arguments: list[str], *, columns: int = 80, rows: int = 24, **changes: str | None) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # The leader of a new session that opens a terminal gets it as its own, and with it Ctrl-C as a signal. It has
        # the terminal as standard input before that, so our side never sees a terminal that nothing has open.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(slave), *arguments],
            stdin=slave,
            start_new_session=True,
            env=environment(**{"TERM": "xterm-256color", **changes}),
        )
        os.close(slave)
        self.raw = bytearray()  # everything shown
        self._seen = bytearray()  # everything shown, without escape sequences
        self._looked_at = 0  # how much of `raw` is in `_seen`
        self._mark = 0  # what precedes it was matched already

    def type(self, text: str | bytes) -> None:
        os.write(self._master, text if isinstance(text, bytes) else text.encode())

    def interrupt(self, expect: str) -> None:
        """Press Ctrl-C, again if nothing happens, as people do.

        The interpreter loses a signal that arrives just before a system call that waits, as readline's: it is seen
        when that call ends. People are not that fast, but a test under load is. A busy machine needs time to react,
        and a second Ctrl-C would interrupt what comes after the first.
        """
        for _ in range(4):
            self.type(b"\x03")
            with suppress(AssertionError):
                self.expect(expect, patience=PATIENCE / 4)
                return
        raise AssertionError(f"Ctrl-C does not bring {expect!r}")

    def expect(self, text: str, patience: float = PATIENCE) -> str:
        """Wait until ``text`` is shown, and return what was shown before it since the last call."""
        wanted = text.encode().replace(b"\n", b"\r\n")
        deadline = time.monotonic() + patience
        while (found := self._seen.find(wanted, self._mark)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} is not in {bytes(self._seen[self._mark :])!r}")
        before = self._seen[self._mark : found]
        self._mark = found + len(wanted)
        return before.decode(errors="replace")

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._master], [], [], left)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # on Linux, this means that the other side is closed
            return False
        self.raw += data
        for _ in range(data.count(b"\x1b[6n")):
            # A query for the position of the cursor: it is in the first line, so there is space below.
            self.type(b"\x1b[1;1R")
        # An incomplete escape sequence waits for the rest.
        last = self.raw.rfind(b"\x1b", self._looked_at)
        end = len(self.raw) if last < 0 or ESCAPE_SEQUENCE.match(self.raw, last) else last
        self._seen += ESCAPE_SEQUENCE.sub(b"", self.raw[self._looked_at : end])
        self._looked_at = end
        return bool(data)

    def wait(self) -> int:
        """Read to the end and return the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    @property
    def screen(self) -> str:
        """Everything shown so far."""
        return self._seen.decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        os.close(self._master)
