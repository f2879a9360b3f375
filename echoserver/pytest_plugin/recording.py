"""Keeping what each connection receives: a handler around the handler of the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from echoserver.handlers import Handler, HandlerSpec, Peer, Reply, find_handler
from echoserver.serving.connection import Connection


class Recorder:
    """Keeps what each connection receives.

    Parameters
    ----------
    spec:
        The handler of the test, or how it is named.
    options:
        The values of its options.

    Raises
    ------
    ConfigError
        There is no such handler, or it refuses its options.

    """

    def __init__(self, spec: HandlerSpec, options: Mapping[str, object]) -> None:
        self._factory = find_handler(spec, options)
        # Guards the dictionary and what is in it: serving threads write, the test reads.
        self._lock = Lock()
        self._received: dict[int, bytearray] = {}
        self._live: Callable[[], list[Connection]] = list
        recorder = self

        class Recording(_Recording):
            blocking = self._factory.blocking

            def __init__(self) -> None:
                super().__init__(recorder)

        self.handler: type[Handler] = Recording
        """What the server is given in place of the handler of the test."""

    def watch(self, live: Callable[[], list[Connection]]) -> None:
        """Take the numbers of the connections from here; to be called before the first one comes."""
        self._live = live

    def received(self) -> dict[int, bytes]:
        """Return what each connection has received so far, by its number."""
        with self._lock:
            return {number: bytes(data) for number, data in sorted(self._received.items())}

    def open(self, peer: Peer) -> tuple[Handler, bytearray]:
        """Make the handler of one connection, and the place for what it receives."""
        address = peer.address
        numbers = [connection.number for connection in self._live() if connection.peer == address]
        with self._lock:
            # The peers of a unix socket may have one address in common. Any of those will do that has no place yet.
            number = next(number for number in numbers if number not in self._received)
            data = self._received[number] = bytearray()
        return self._factory.make(peer), data

    def keep(self, place: bytearray, data: bytes) -> None:
        """Keep what one connection has received."""
        with self._lock:
            place += data


class _Recording(Handler):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def greet(self) -> Reply:
        self._inner, self._place = self._recorder.open(self.peer)
        return self._inner.greet()

    def feed(self, data: bytes) -> Reply:
        self._recorder.keep(self._place, data)
        return self._inner.feed(data)

    def finish(self) -> Reply:
        return self._inner.finish()
