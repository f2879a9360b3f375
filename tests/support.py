"""Starting the command `echoserver`, waiting for what it says, and filling it with peers: for tests with a process.

Nothing here sleeps. A test waits for a line of output or the end of it, and `PATIENCE` only bounds how long a defect
can make it wait.
"""

from __future__ import annotations

import json
import os
import resource
import select
import selectors
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from echoserver.clock import Deadline

PATIENCE = 20.0
ROOT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """Return the environment for a process: ours, without what would change how echoserver behaves, and the changes."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ECHOSERVER_")}
    ours.pop("NO_COLOR", None)
    path = os.pathsep.join([str(ROOT), *filter(None, [ours.get("PYTHONPATH")])])
    return {**ours, "PYTHONPATH": path, "PYTHONWARNINGS": "error", **changes}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "echoserver", *map(str, arguments)]


def run(*arguments: object, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `echoserver` to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        env=environment(**changes),
        cwd=cwd,
        check=False,
    )


class Program:
    """A started process whose standard error is read line by line; it is killed where the test leaves it running.

    `Program("serve", "--port", 0)` starts the command; `arguments` given by name starts any other. It inherits the
    descriptors that `inherited` names.
    """

    def __init__(
        self,
        *of_command: object,
        arguments: list[str] | None = None,
        cwd: Path | None = None,
        inherited: tuple[int, ...] = (),
        **changes: str,
    ) -> None:
        self.process = subprocess.Popen(
            arguments or command(*of_command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(**changes),
            cwd=cwd,
            pass_fds=inherited,
        )
        assert self.process.stderr is not None
        self._output = self.process.stderr
        os.set_blocking(self._output.fileno(), False)
        self._unfinished = b""
        self._read: list[str] = []
        self._next = 0  # of the lines read, the first that no wait has looked at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._output.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)

    @property
    def lines(self) -> list[str]:
        """All lines so far."""
        return self._read

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines so far."""
        return [json.loads(line) for line in self._read if line.startswith("{")]

    @property
    def address(self) -> tuple[str, int]:
        """The first address listened on; waits for the line that has it."""
        line = next((line for line in self.events if line["event"] == "listening"), None) or self.wait_for("listening")
        return line["host"], line["port"]

    def wait_for_line(self, text: str) -> str:
        """Wait for a line that contains the text, after those that earlier waits returned."""
        deadline = Deadline(PATIENCE)
        while True:
            while self._next < len(self._read):
                line = self._read[self._next]
                self._next += 1
                if text in line:
                    return line
            assert self._read_more(deadline), f"no line with {text!r}: {self._read}"

    def wait_for(self, event: str, **facts: object) -> dict[str, Any]:
        """Wait for a JSON line with this event and these values, after those that earlier waits returned."""
        while True:
            line = self.wait_for_line(f'"event": "{event}"')
            found: dict[str, Any] = json.loads(line)
            if facts.items() <= found.items():
                return found

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def finish(self) -> int:
        """Read to the end of the output and return the exit code."""
        deadline = Deadline(PATIENCE)
        while self._read_more(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read_more(self, deadline: Deadline) -> bool:
        """Wait for more output; return false at its end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            assert selector.select(deadline.timeout()), f"neither output nor its end in time: {self._read}"
        data = os.read(self._output.fileno(), 65536)
        *whole, self._unfinished = (self._unfinished + data).split(b"\n")
        if not data and self._unfinished:
            whole, self._unfinished = [self._unfinished], b""
        self._read += [line.decode() for line in whole]
        return bool(data)


def activated(sockets: Sequence[socket.socket], names: str, *of_command: object, **options: Any) -> Program:
    """Start the command as systemd starts a unit with sockets: they are its descriptors from 3 on."""
    code = (
        "import os, sys\n"
        "given = [os.dup(int(number)) for number in sys.argv[1].split(',')]\n"
        "for index, number in enumerate(given): os.dup2(os.dup(number), 3 + index)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    numbers = tuple(sock.fileno() for sock in sockets)
    arguments = [sys.executable, "-c", code, ",".join(map(str, numbers)), *command(*of_command)[1:]]
    return Program(
        arguments=arguments, inherited=numbers, LISTEN_FDS=str(len(numbers)), LISTEN_FDNAMES=names, **options
    )


class Service(Program):
    """A started `echoserver serve`, with its log as JSON, that has said where it listens: on a free port by default."""

    def __init__(self, *options: object, cwd: Path | None = None, **changes: str) -> None:
        where = () if "--listen" in options else ("--port", 0)
        super().__init__("serve", *where, "--log-format", "json", *options, cwd=cwd, **changes)
        try:
            self.wait_for("listening")
        except BaseException:
            self.__exit__()
            raise


class Throng:
    """Very many connections to one server, from one thread. It needs as many open files, and allows itself so many.

    They connect one after the other, or all `at_once`; `wait_connected` then waits for them.
    """

    def __init__(self, address: tuple[str, int], count: int, *, at_once: bool = False) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = self._limits[1]
        enough = most == resource.RLIM_INFINITY or most >= count + 200
        assert enough, f"{count} connections need more open files than {most}: raise the limit (ulimit -Hn)"
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._poll = select.epoll()
        self._peers: dict[int, socket.socket] = {}
        try:
            for _ in range(count):
                peer = _connecting(address) if at_once else socket.create_connection(address, PATIENCE)
                self._peers[peer.fileno()] = peer
                self._poll.register(peer, select.EPOLLIN)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._peers.values():
            peer.close()
        self._poll.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)

    def wait_connected(self, seconds: float) -> int:
        """Wait until all are connected, but no longer than that; return how many are."""
        deadline = Deadline(seconds)
        waiting = set(self._peers)
        with select.epoll() as poll:
            for descriptor in waiting:
                poll.register(descriptor, select.EPOLLOUT)
            while waiting and not deadline.expired:
                for descriptor, _ in poll.poll(deadline.timeout()):
                    poll.unregister(descriptor)
                    waiting.discard(descriptor)
        return len(self._peers) - len(waiting)

    def exchange_at_once(self) -> None:
        """Have each send before any reads, and see each answered."""
        for peer in self._peers.values():
            peer.send(b"now")
        waiting = set(self._peers)
        while waiting:
            events = self._poll.poll(PATIENCE)
            assert events, f"{len(waiting)} have no answer"
            for descriptor, _ in events:
                assert self._peers[descriptor].recv(10) == b"now"
                waiting.discard(descriptor)


def _connecting(address: tuple[str, int]) -> socket.socket:
    """Return a socket that has begun to connect."""
    peer = socket.socket()
    peer.setblocking(False)
    peer.connect_ex(address)
    return peer
