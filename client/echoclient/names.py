"""The addresses of a host name, within a time limit."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import TYPE_CHECKING

from echoclient.errors import ResolveError, TimedOutError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoclient.durations import Deadline
    from echoclient.target import Target

_AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


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
