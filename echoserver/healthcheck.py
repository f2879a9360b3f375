"""One real exchange with a running server, for a container's health check; it imports nothing heavy."""

from __future__ import annotations

import socket

_PROBE = b"echoserver healthcheck\n"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
_SAME_TEXT = ("echo", "upper")


def exchange(host: str, port: int, handler: object, timeout: float | None) -> str | None:
    """Send a line, and return `None` if the answer is right, else what is wrong in one line.

    The built-in handlers send the line back, in some case of letters; of another handler any byte will do.

    Parameters
    ----------
    host, port:
        As the server was told; a wildcard address stands for loopback.
    handler:
        The configured handler.
    timeout:
        How long each step may take, in seconds; `None` is without limit.

    """
    target = (_WILDCARDS.get(host, host), port)
    answer = b""
    try:
        with socket.create_connection(target, timeout) as sock:
            sock.sendall(_PROBE)
            while len(answer) < len(_PROBE) and (data := sock.recv(4096)):
                answer += data
                if handler not in _SAME_TEXT:
                    return None
    except OSError as error:
        return f"no exchange with {target[0]} port {port}: {error.strerror or error}"
    if answer.lower() != _PROBE:
        return f"{target[0]} port {port} answered {answer[:64]!r} to {_PROBE!r}"
    return None
