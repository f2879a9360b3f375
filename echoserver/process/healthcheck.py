"""One real exchange with a running server, for the health check of a container; it loads little."""

from __future__ import annotations

import socket

from echoserver.clock import Deadline

_PROBE = b"echoserver healthcheck\n"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
_SAME_TEXT = ("echo", "upper")


def exchange(host: str, port: int, handler: object, deadline: Deadline) -> str | None:
    """Send a line; return `None` if the answer is right, and otherwise what is wrong, in one line.

    A built-in handler must send the line back, in any case of letters; from any other handler one byte is enough.

    Parameters
    ----------
    host, port:
        As the server is configured; a wildcard address stands for loopback.
    handler:
        The configured handler.
    deadline:
        When the answer must be complete, for all steps together.

    """
    if port == 0:
        return "the port is 0, so the port that the server took is unknown: configure one"
    target = (_WILDCARDS.get(host, host), port)
    answer = b""
    try:
        with socket.create_connection(target, deadline.timeout()) as sock:
            sock.sendall(_PROBE)
            while len(answer) < len(_PROBE):
                sock.settimeout(deadline.timeout())
                if not (data := sock.recv(4096)):
                    break
                answer += data
                if handler not in _SAME_TEXT:
                    return None
    except (TimeoutError, BlockingIOError):  # the latter if no time was left to wait
        return f"no answer from {target[0]} port {port} in time"
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"no exchange with {target[0]} port {port}: {reason}"
    if answer.lower() != _PROBE:
        return f"{target[0]} port {port} answered {answer[:64]!r} to {_PROBE!r}"
    return None
