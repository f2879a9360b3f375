"""A server that runs a test's script on each connection."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest


class CloseError(Exception):
    """Raised by a script: close the connection in order."""


class ResetError(Exception):
    """Raised by a script: reset the connection."""


class Talk:
    """One connection, as a script sees it."""

    def __init__(self, number: int, host: str, server: ScriptedServer) -> None:
        self.number = number
        self.host = host  # the peer's
        self.server = server
        self.offset = 0  # of the first byte passed to the script


Script = Callable[[Talk, bytes], bytes]


class ScriptedServer:
    """One thread that passes what it receives to a script, and sends what the script returns."""

    def __init__(self, script: Script, backlog: int = 512) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.received = 0
        # For tests that wait, and for scripts that stall.
        self.busy = threading.Event()
        self.stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="scripted-server")
        self._thread.start()

    def stop(self) -> None:
        """Close everything at once, like a server that dies."""
        self.stopping.set()
        with contextlib.suppress(OSError):  # stopped already
            self._wake.send(b"x")
        self._thread.join()

    def vanish(self) -> None:
        """Do the same from a script."""
        self.stopping.set()
        self._wake.send(b"x")

    def _run(self) -> None:
        while not self.stopping.is_set():
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    sock, (host, _) = self._listener.accept()
                    self._selector.register(sock, selectors.EVENT_READ, Talk(self.accepted, host, self))
                    self.accepted += 1
                elif key.data is not None:
                    self._serve(key.fileobj, key.data)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _serve(self, sock: socket.socket, talk: Talk) -> None:
        try:
            data = sock.recv(65536)
            if not data:
                raise CloseError
            self.received += len(data)
            reply = self._script(talk, data)
            talk.offset += len(data)
            sock.sendall(reply)
            if self.received >= 10_000:
                self.busy.set()
            return
        except ResetError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (CloseError, OSError):
            pass
        self._selector.unregister(sock)
        sock.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], ScriptedServer]]:
    """Start servers with scripts; they are stopped when the test ends."""
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def scripts() -> type[Scripts]:
    return Scripts


class Scripts:
    """The scripts of these tests."""

    @staticmethod
    def echo(_: Talk, data: bytes) -> bytes:
        return data

    @staticmethod
    def upper(_: Talk, data: bytes) -> bytes:
        return data.upper()

    @staticmethod
    def silent(_: Talk, __: bytes) -> bytes:
        return b""

    @staticmethod
    def corrupt(offset: int) -> Script:
        """Change one byte of each connection's replies."""

        def script(talk: Talk, data: bytes) -> bytes:
            index = offset - talk.offset
            if 0 <= index < len(data):
                return data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]
            return data

        return script

    @staticmethod
    def once(received: int, what: Callable[[Talk, bytes], bytes]) -> Script:
        """Echo, but do something else once, when that many bytes have arrived."""
        done = []

        def script(talk: Talk, data: bytes) -> bytes:
            if talk.server.received >= received and not done:
                done.append(True)
                return what(talk, data)
            return data

        return script

    @staticmethod
    def stall(seconds: float) -> Callable[[Talk, bytes], bytes]:
        """Stall all connections."""

        def script(talk: Talk, data: bytes) -> bytes:
            talk.server.stopping.wait(seconds)
            return data

        return script

    @staticmethod
    def close(_: Talk, __: bytes) -> bytes:
        raise CloseError

    @staticmethod
    def reset(_: Talk, __: bytes) -> bytes:
        raise ResetError

    @staticmethod
    def short(_: Talk, data: bytes) -> bytes:
        return data[:-1]

    @staticmethod
    def extra(_: Talk, data: bytes) -> bytes:
        return data + b"!"

    @staticmethod
    def vanish(talk: Talk, _: bytes) -> bytes:
        talk.server.vanish()
        raise CloseError
