"""Asking the admin endpoint of a running server, from a command. It loads no more than it needs."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from echoserver.errors import EchoServerError
from echoserver.net.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

_SECONDS = 30.0


class AskError(EchoServerError):
    """The server does not answer, or refuses."""


def ask(
    endpoint: Endpoint, token: str, method: str, path: str, body: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Return the answer to a request.

    Parameters
    ----------
    endpoint:
        Where the server answers.
    token:
        What it requires; empty for none.
    method, path, body:
        The request.

    Raises
    ------
    AskError
        There is no answer, or it is an error.

    """
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    request = "\r\n".join([*lines, "", ""]).encode() + content
    try:
        answer = _exchange(endpoint, request)
    except OSError as error:
        raise AskError(f"no server answers at {endpoint}: {error.strerror or error}") from None
    head, _, content = answer.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
        found = json.loads(content)
    except (ValueError, IndexError):
        raise AskError(f"{endpoint} is not the admin endpoint of an echoserver") from None
    if status != 200 or not isinstance(found, dict):
        problem = found.get("error", "") if isinstance(found, dict) else ""
        raise AskError(str(problem) or f"the server answers with status {status}")
    return found


def _exchange(endpoint: Endpoint, request: bytes) -> bytes:
    with _connected(endpoint) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)  # whatever answers there, it has all that it will get
        answer = bytearray()
        while data := sock.recv(65536):
            answer += data
        return bytes(answer)


def _connected(endpoint: Endpoint) -> socket.socket:
    if isinstance(endpoint, TcpEndpoint):
        return socket.create_connection((endpoint.host, endpoint.port), _SECONDS)
    assert isinstance(endpoint, UnixEndpoint), "an admin endpoint is one of the two"
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_SECONDS)
        sock.connect(endpoint.path)
    except BaseException:
        sock.close()
        raise
    return sock
