"""One real exchange with a running server, for the health check of a container; it loads little."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from echoserver.clock import Deadline
from echoserver.net.endpoint import Endpoint, InheritedEndpoint, TcpEndpoint, UnixEndpoint

if TYPE_CHECKING:
    from echoserver.process.tls_client import TlsClient

_PROBE = b"echoserver healthcheck\n"
_HEADER = b"PROXY UNKNOWN\r\n"  # this process speaks for no other
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
_SAME_TEXT = ("echo", "upper", "lines", "frames")
_NO_ANSWER = "discard"
_IN_A_FRAME = len(_PROBE).to_bytes(4) + _PROBE
# What a server says after the handshake of TLS 1.3 to a client that has no certificate (RFC 8446, section 6.2).
_CERTIFICATE_REQUIRED = "CERTIFICATE_REQUIRED"


def exchange(endpoint: Endpoint, handler: object, deadline: Deadline, *, client_ca: bool = False) -> str | None:
    """Send a line; return `None` if the answer is right, and otherwise what is wrong, in one line.

    A handler that echoes must send the line back, in any case of letters; from others one byte is enough, and from
    `discard` the end of the stream.

    Parameters
    ----------
    endpoint:
        Where the server is configured to listen; a wildcard address stands for loopback.
    handler:
        The configured handler.
    deadline:
        When the answer must be complete, for all steps together.
    client_ca:
        Whether TLS clients must present a certificate. The check has none; that the server asks for it after an
        otherwise complete handshake is answer enough.

    """
    if isinstance(endpoint, InheritedEndpoint):
        return f"the address of {endpoint} is known only to what passed the socket: check that address"
    if isinstance(endpoint, TcpEndpoint) and endpoint.port == 0:
        return "the port is 0, so the port that the server took is unknown: configure one"
    shown = f"{_host_of(endpoint)} port {endpoint.port}" if isinstance(endpoint, TcpEndpoint) else str(endpoint)
    probe, answer = _IN_A_FRAME if handler == "frames" else _PROBE, b""
    try:
        with ExitStack() as stack:
            sock = stack.enter_context(_connect(endpoint, deadline.timeout()))
            if endpoint.proxy:
                sock.sendall(_HEADER)
            stream = _over_tls(sock) if isinstance(endpoint, TcpEndpoint) and endpoint.tls else sock
            try:
                stream.sendall(probe)
                if handler == _NO_ANSWER:
                    stream.shutdown(socket.SHUT_WR)
            except OSError:
                # The server may have refused us by now; what it has said about that is read below.
                if not client_ca:
                    raise
            while len(answer) < len(probe):
                stream.settimeout(deadline.timeout())
                if not (data := stream.recv(4096)):
                    break
                answer += data
                if handler not in (*_SAME_TEXT, _NO_ANSWER):
                    return None
    except (TimeoutError, BlockingIOError):  # the latter if no time was left to wait
        return f"no answer from {shown} in time"
    except (OSError, UnicodeError) as error:
        if client_ca and _CERTIFICATE_REQUIRED in (getattr(error, "reason", None) or ""):
            return None
        reason = getattr(error, "strerror", None) or error
        return f"no exchange with {shown}: {reason}"
    if answer.lower() != (b"" if handler == _NO_ANSWER else probe):
        return f"{shown} answered {answer[:64]!r} to {probe!r}"
    return None


def _host_of(endpoint: TcpEndpoint) -> str:
    return _WILDCARDS.get(endpoint.host, endpoint.host)


def _over_tls(sock: socket.socket) -> TlsClient:
    from echoserver.process.tls_client import TlsClient  # most servers are asked without, and don't load it

    return TlsClient(sock)


def _connect(endpoint: TcpEndpoint | UnixEndpoint, timeout: float | None) -> socket.socket:
    if isinstance(endpoint, TcpEndpoint):
        return socket.create_connection((_host_of(endpoint), endpoint.port), timeout)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(endpoint.path)
    except BaseException:
        sock.close()
        raise
    return sock
