"""What the supervisor and a worker process say to each other: JSON objects, one on each line, over a socket pair."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from threading import Lock
from typing import Any

_RECEIVE_BYTES = 65536

Message = dict[str, Any]


class Channel:
    """One end of the socket pair. When this process has gone, however it went, the other end reads the end.

    Parameters
    ----------
    sock:
        The end of the pair, which belongs to the channel. A worker's blocks. The supervisor's doesn't: it must not
        wait for a worker that has been stopped.

    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = Lock()  # guards sending: lines of two threads must not mix
        self._unfinished = b""  # the receiving thread's own

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._sock.fileno()

    def send(self, **message: object) -> bool:
        """Send a message; return false if the other end has gone, or takes no more."""
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self._sock.sendall(line)
        except OSError:
            return False
        return True

    def receive(self) -> list[Message] | None:
        """Return the messages that have arrived, of which there may be none yet; `None` when the other end has gone."""
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def channels() -> tuple[Channel, Channel]:
    """Return both ends of a new pair: the supervisor's and the worker's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Channel(ours), Channel(theirs)


def counted(snapshot: Mapping[str, Any]) -> Message:
    """Return counters as a message carries them: without those that only the other mode has."""
    return {name: value for name, value in snapshot.items() if value is not None}
