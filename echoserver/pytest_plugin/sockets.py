"""Which TCP sockets a test makes, where, and how they are closed.

While a watch is on, some methods are replaced: `socket.socket.__init__`, through which every socket object is made,
those of asyncio and TLS included; `_real_close` and `detach`, through which every explicit close of one goes; and the
finalizer of `asyncio.StreamWriter`, which closes a connection that was left to the garbage collector. So neither debug
modes nor tracemalloc are needed, and nothing keeps a socket alive. What a C library opens without a socket object is
not seen.
"""

from __future__ import annotations

import socket
import sys
import sysconfig
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from echoserver.net.endpoint import format_address

if TYPE_CHECKING:
    from asyncio import StreamWriter
    from asyncio.trsock import TransportSocket

_CLASS = socket.socket
_MOST_FRAMES = 100
_FRAMES_TO_A_FINALIZER = 5
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})

# linux/tcp.h, struct tcp_info: the state, and 64-bit counters. A FIN counts as a byte received.
_SENT, _RESENT, _RECEIVED = slice(200, 208), slice(208, 216), slice(128, 136)
_CLOSED_BY_PEER = frozenset({6, 8, 9, 11})  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING
_LISTEN = 10


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a program."""

    filename: str
    line: int
    function: str


class WatchedSocket:
    """A socket that was made while the watch was on."""

    __slots__ = ("_sock", "closed", "finalized", "made_at")

    def __init__(self, sock: socket.socket, made_at: list[Place]) -> None:
        self._sock = weakref.ref(sock)
        self.made_at = made_at
        """From the call that made it outwards."""
        self.closed = False
        """Whether a program has closed it, or has given its descriptor away."""
        self.finalized = False
        """Whether that happened in a finalizer, so that nobody but the garbage collector cared."""

    def fileno(self) -> int:
        """Return its descriptor; -1 once closed."""
        sock = self._sock()
        return -1 if sock is None else sock.fileno()

    @property
    def is_open(self) -> bool:
        """Whether it has an open descriptor, and no finalizer is about to close it."""
        return not self.finalized and self.fileno() != -1

    @property
    def collected(self) -> bool:
        """Whether the garbage collector has closed it."""
        return self.finalized or (self._sock() is None and not self.closed)

    def describe(self) -> str:
        """Return its addresses and what it has moved, as far as the kernel knows."""
        sock = self._sock()
        if sock is None:
            return "a socket"
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216) if sys.platform == "linux" else b""
            here = format_address(sock.getsockname())
        except OSError:  # closed meanwhile
            return "a socket"
        if info and info[0] == _LISTEN:
            return f"listening on {here}"
        try:
            text = f"{here} -> {format_address(sock.getpeername())}"
        except OSError:  # ENOTCONN
            return f"{here}, not connected"
        if len(info) < 216:
            return text
        sent, resent, received = (int.from_bytes(info[field], sys.byteorder) for field in (_SENT, _RESENT, _RECEIVED))
        received -= info[0] in _CLOSED_BY_PEER
        return f"{text}, {sent - resent} bytes sent, {received} received"


class SocketWatch:
    """Notes the TCP sockets that are made from `start` to `stop`.

    Not noted are those that a listener accepts, which belong to a server; those of threads that ran at the start, which
    the test has not started; and those made while `exempt` is true.
    """

    def __init__(self) -> None:
        self.exempt = False
        # Guards the dictionary and the list. Re-entrant: a finalizer, which may run at any point, closes sockets too.
        self._lock = threading.RLock()
        self._by_id: dict[int, WatchedSocket] = {}
        self._made: list[WatchedSocket] = []
        self._active = False
        self._others: set[int | None] = set()
        self._replaced: list[tuple[type, str, object, object]] = []

    def start(self) -> None:
        """Begin, in the thread that runs the test."""
        self.exempt_threads()
        self._active = True
        self._replace_methods()

    def exempt_threads(self) -> None:
        """Note nothing that the threads make which run now, except this one."""
        running = {thread.ident for thread in threading.enumerate()}
        # Replaced as a whole: other threads read it.
        self._others = self._others | running - {threading.get_ident()}

    def stop(self) -> None:
        """End, and forget all sockets."""
        self._active = False
        for owner, name, original, replacement in self._replaced:
            if vars(owner)[name] is replacement:  # another tool may have put its own on top: ours then only passes on
                setattr(owner, name, original)
        self._replaced.clear()
        with self._lock:
            self._by_id.clear()
            self._made.clear()

    def sockets(self) -> list[WatchedSocket]:
        """Return the sockets so far."""
        with self._lock:
            return list(self._made)

    def _replace_methods(self) -> None:
        make, close, detach = (vars(_CLASS)[name] for name in ("__init__", "_real_close", "detach"))

        def watched_init(sock: socket.socket, *args: object, **options: object) -> None:
            with self._lock:
                self._by_id.pop(id(sock), None)  # one that the garbage collector has closed had this number before
            make(sock, *args, **options)
            if self._active:
                self._note_made(sock)

        def watched_close(sock: socket.socket, *args: object) -> None:
            self._note_closed(sock)
            close(sock, *args)

        def watched_detach(sock: socket.socket) -> int:
            self._note_closed(sock)
            number: int = detach(sock)
            return number

        self._replace(_CLASS, "__init__", watched_init)
        self._replace(_CLASS, "_real_close", watched_close)
        self._replace(_CLASS, "detach", watched_detach)
        # A program that uses asyncio has loaded it by now.
        streams = sys.modules.get("asyncio.streams")
        if streams is not None:
            self._replace_finalizer(streams.StreamWriter)

    def _replace_finalizer(self, writers: type[StreamWriter]) -> None:
        finalize = vars(writers)["__del__"]

        def watched_del(writer: StreamWriter, *args: object) -> None:
            if not writer.is_closing():
                self._note_abandoned(writer.get_extra_info("socket"))
            finalize(writer, *args)

        self._replace(writers, "__del__", watched_del)

    def _replace(self, owner: type, name: str, replacement: object) -> None:
        self._replaced.append((owner, name, vars(owner)[name], replacement))
        setattr(owner, name, replacement)

    def _note_made(self, sock: socket.socket) -> None:
        if self.exempt or threading.get_ident() in self._others:
            return
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
            return
        caller = sys._getframe(2)
        if caller.f_code is _CLASS.accept.__code__:
            return
        made = WatchedSocket(sock, list(_places(caller)))
        with self._lock:
            self._by_id[id(sock)] = made
            self._made.append(made)

    def _note_closed(self, sock: socket.socket) -> None:
        with self._lock:
            watched = self._by_id.get(id(sock))
        if watched is not None and not watched.closed:
            watched.closed, watched.finalized = True, _in_finalizer()

    def _note_abandoned(self, sock: TransportSocket | None) -> None:
        """Note that a finalizer is about to close a socket, which takes it a turn of the event loop."""
        number = -1 if sock is None else sock.fileno()
        for watched in self.sockets():
            if number != -1 and watched.fileno() == number:
                watched.closed = watched.finalized = True


def _places(frame: FrameType | None) -> Iterator[Place]:
    """Yield from where a call comes, from the inside outwards, up to pytest."""
    for _ in range(_MOST_FRAMES):
        if frame is None or frame.f_globals.get("__name__", "").startswith("_pytest."):
            return
        yield Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back


def _in_finalizer() -> bool:
    """Return whether a `__del__` makes this call, such as that of an asyncio transport."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES_TO_A_FINALIZER):
        if frame is None:
            return False
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def own_places(places: list[Place]) -> list[Place]:
    """Return the places that are neither in the standard library nor in an installed package."""
    return [place for place in places if not place.filename.startswith((*_LIBRARIES, "<"))]
