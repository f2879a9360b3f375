"""One TCP connection to a server: connect, with retries; then send, receive, half-close."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import TYPE_CHECKING, TypeVar

from echoclient.durations import Deadline, format_duration
from echoclient.errors import ClientError, RefusedError, ResolveError, TimedOutError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoclient.target import Target

T = TypeVar("T")
# One system call's worth: larger brings nothing over loopback, smaller costs throughput.
CHUNK = 256 * 1024
# Between two tries: at first a server that is just starting should not be kept waiting, later the network should.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

_AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class Session:
    """A connection and its byte counts.

    One thread may send while another receives, each alone on its side. `shutdown` may be called from any thread and
    wakes both; `close` only by the owner, once both are done, because the descriptor's number is reused at once.

    Attributes:
        target: what the user asked for.
        peer: the address that answered, as ``host:port`` or ``[v6]:port``.
        bytes_out: bytes the kernel took; written by the sending thread alone.
        bytes_in: bytes received; written by the receiving thread alone.
    """

    def __init__(self, sock: socket.socket, target: Target) -> None:
        # A line typed or a ping must leave at once, and not wait for the reply to the one before (RFC 896).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.target = target
        host, port = sock.getpeername()[:2]
        self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.bytes_out = 0
        self.bytes_in = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes | memoryview) -> None:
        """Send all of ``data``, waiting as long as the peer makes us wait.

        Raises:
            ClientError: the connection is lost; ``bytes_out`` still says how much the kernel took.
        """
        left = memoryview(data)
        while left:
            left = left[self.send_some(left) :]

    def send_some(self, data: bytes | memoryview) -> int:
        """Send as much as one send(2) takes, count it and return how much it was.

        Raises:
            BlockingIOError: the socket is in non-blocking mode and takes nothing now.
            ClientError: the connection is lost.
        """
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise from_os_error(error, self.target) from error
        self.bytes_out += sent
        return sent

    def receive(self) -> bytes:
        """Receive what there is, at most `CHUNK` bytes; ``b""`` is the end of what the peer says.

        Raises:
            BlockingIOError: the socket is in non-blocking mode and nothing is there now.
            ClientError: the connection is lost.
        """
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            raise
        except OSError as error:
            raise from_os_error(error, self.target) from error
        self.bytes_in += len(data)
        return data

    def half_close(self) -> None:
        """Tell the peer that nothing more comes from here; its replies still do."""
        self._shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        """End both directions and wake whoever is blocked in one of them."""
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        # ENOTCONN: the connection is gone already, and the next receive says why.
        with contextlib.suppress(OSError):
            self.socket.shutdown(how)

    def close(self) -> None:
        """Give the descriptor back. May be called twice."""
        self.socket.close()

    def traffic(self) -> str:
        """Say how many bytes went out and came back."""
        return f"{self.bytes_out} bytes went out, {self.bytes_in} came back"


def connect(
    target: Target,
    *,
    timeout: float = 0,
    wait: float = 0,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Session:
    """Connect, trying every address the name resolves to, and again and again while ``wait`` allows.

    Args:
        target: where to.
        timeout: seconds one try may take, looking the name up included; 0 is no limit but the kernel's.
        wait: seconds to keep trying; 0 is one try.
        say: is told, in one line, what is waited for.
        stop: set by another thread to give up between two tries.

    Raises:
        ClientError: what the last try met.
    """
    return retry(
        lambda deadline: open_session(target, deadline),
        target,
        timeout=timeout,
        wait=wait,
        say=say,
        stop=stop,
    )


def retry(
    attempt: Callable[[Deadline], T],
    target: Target,
    *,
    timeout: float,
    wait: float,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> T:
    """Call ``attempt`` until it succeeds or the time is up; the parameters are those of `connect`."""
    give_up = Deadline(wait)
    # Waited on between two tries: setting it, or Ctrl-C in the main thread, ends the wait at once.
    stop = stop or threading.Event()
    pause, last_word = FIRST_PAUSE, ""
    while True:
        try:
            return attempt(give_up.within(timeout or None) if wait else Deadline(timeout or None))
        except ClientError as error:
            left = give_up.remaining() or 0
            if not left or stop.wait(min(pause, left)) or give_up.passed():
                if not wait:
                    raise
                raise error.adding(f"gave up after {format_duration(wait)}") from error
            if say and error.word != last_word:
                say(f"waiting up to {format_duration(wait)} for {target} ({error.word})")
            last_word = error.word
        pause = min(2 * pause, LONGEST_PAUSE)


def open_session(target: Target, deadline: Deadline) -> Session:
    """Try once, every address the name resolves to in turn.

    Raises:
        ClientError: none of them answered, or not by the deadline.
    """
    addresses = resolve(target, deadline)
    errors = []
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        # Each address gets its share of what is left, so that one that swallows packets can't use up all of it.
        left = deadline.remaining()
        share = None if left is None else max(left / (len(addresses) - tried), 0.001)
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # this machine has no IPv6, say
            errors.append(from_os_error(error, target))
            continue
        try:
            sock.settimeout(share)
            sock.connect(address)
            sock.settimeout(None)
            if sock.getsockname() != sock.getpeername():
                return Session(sock, target)
            # With nobody listening on a port of the range that outgoing connections use, the kernel may choose that
            # very port for our end and connect the socket to itself (RFC 9293, 3.5: simultaneous open).
            errors.append(RefusedError(f"{target}: connection refused"))
        except OSError as error:
            errors.append(from_os_error(error, target))
        except BaseException:  # Ctrl-C
            sock.close()
            raise
        sock.close()
    # The first that says more than that there is no way to the address; if none does, the first.
    raise min(errors, key=lambda error: error.word == ClientError.word)


def resolve(target: Target, deadline: Deadline) -> Sequence[_AddressInfo]:
    """Return what getaddrinfo(3) gives for a stream socket, in its order.

    Raises:
        ResolveError: the name has no address.
        TimedOutError: the answer did not come in time.
    """
    with contextlib.suppress(socket.gaierror, UnicodeError):  # an address needs no look-up
        return socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    # getaddrinfo takes no time limit and does not let Ctrl-C through, so it is called where nobody has to wait for it.
    answers: queue.SimpleQueue[Sequence[_AddressInfo] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    thread = threading.Thread(target=look_up, name=f"resolve-{target.host}", daemon=True)
    thread.start()
    try:
        answer = answers.get(timeout=deadline.remaining())
    except queue.Empty:
        raise TimedOutError(f"{target}: the name was not resolved in time") from None
    thread.join()
    if isinstance(answer, UnicodeError):
        raise ResolveError(f"{target}: not a valid host name")
    if isinstance(answer, OSError):
        raise from_os_error(answer, target) from answer
    return answer
