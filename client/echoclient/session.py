"""One TCP connection to a server: connect, with retries; then send, receive, and half-close."""

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
# Bytes for one system call: more gains nothing over loopback, and less costs throughput.
CHUNK = 256 * 1024
# Seconds between two tries: short at first, to use a server as soon as it has started; later longer, to spare the
# network.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

_AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class Session:
    """A connection and its byte counts.

    One thread may send while another receives. `shutdown` may be called from any thread, and wakes both. Only the owner
    may call `close`, after both have finished, because the descriptor's number is reused at once.

    Attributes:
        target: what the user asked for.
        peer: the address that answered, as ``host:port`` or ``[v6]:port``.
        bytes_out: bytes that the kernel took; written only by the sending thread.
        bytes_in: bytes received; written only by the receiving thread.
    """

    def __init__(self, sock: socket.socket, target: Target) -> None:
        # A typed line or a ping is sent at once, without waiting until the last one is acknowledged (RFC 896).
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
        """Send all of ``data``, waiting for the peer without a limit.

        Raises:
            ClientError: the connection is lost; ``bytes_out`` is how much the kernel took.
        """
        left = memoryview(data)
        while left:
            left = left[self.send_some(left) :]

    def send_some(self, data: bytes | memoryview) -> int:
        """Send as much as one send(2) takes, count it, and return how many bytes that were.

        Raises:
            BlockingIOError: the socket is non-blocking and can't take anything now.
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
        """Receive what is there, at most `CHUNK` bytes; ``b""`` means that the peer has ended its side.

        Raises:
            BlockingIOError: the socket is non-blocking and nothing is there now.
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
        """End the sending side; replies can still be received."""
        self._shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        """End both directions, and wake the threads that are blocked in one of them."""
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        # ENOTCONN: the connection has ended already, and the next receive says why.
        with contextlib.suppress(OSError):
            self.socket.shutdown(how)

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self.socket.close()

    def traffic(self) -> str:
        """Return a text that says how many bytes were sent and received."""
        return f"{self.bytes_out} bytes sent, {self.bytes_in} received"


def connect(
    target: Target,
    *,
    timeout: float = 0,
    wait: float = 0,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Session:
    """Connect, trying each address that the name resolves to, and retrying for up to ``wait`` seconds.

    Args:
        target: where to connect.
        timeout: seconds for one try, including the name look-up; 0 is no limit but the kernel's.
        wait: seconds to keep trying; 0 is one try.
        say: called with one line that says what the call waits for.
        stop: set by another thread to give up between two tries.

    Raises:
        ClientError: why the last try failed.
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
    """Call ``attempt`` until it succeeds or the time is up; for the parameters, see `connect`."""
    give_up = Deadline(wait)
    # The pause between two tries waits for it: setting it, or Ctrl-C in the main thread, ends the pause at once.
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
    """Try each address that the name resolves to once.

    Raises:
        ClientError: none answered by the deadline.
    """
    addresses = resolve(target, deadline)
    errors = []
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        # Each address gets an equal share of the time left, so that one that drops packets can't use up all of it.
        left = deadline.remaining()
        share = None if left is None else max(left / (len(addresses) - tried), 0.001)
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # for instance because this machine has no IPv6
            errors.append(from_os_error(error, target))
            continue
        try:
            sock.settimeout(share)
            sock.connect(address)
            sock.settimeout(None)
            if sock.getsockname() != sock.getpeername():
                return Session(sock, target)
            # If nothing listens on a port in the range for outgoing connections, the kernel may choose that same port
            # for our end, and connect the socket to itself (RFC 9293, 3.5: simultaneous open).
            errors.append(RefusedError(f"{target}: connection refused"))
        except OSError as error:
            errors.append(from_os_error(error, target))
        except BaseException:  # Ctrl-C
            sock.close()
            raise
        sock.close()
    # The first that is not OTHER, which often says only that there is no route; if all are OTHER, the first.
    raise min(errors, key=lambda error: error.word == ClientError.word)


def resolve(target: Target, deadline: Deadline) -> Sequence[_AddressInfo]:
    """Return what getaddrinfo(3) gives for a stream socket, in its order.

    Raises:
        ResolveError: the name has no address.
        TimedOutError: the name was not resolved in time.
    """
    with contextlib.suppress(socket.gaierror, UnicodeError):  # an address needs no look-up
        return socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    # getaddrinfo(3) has no time limit and blocks Ctrl-C, so it runs in a thread that can be abandoned.
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
