"""The errors between this client and a server, each with a word that scripts can match."""

from __future__ import annotations

import errno
import socket


class ClientError(Exception):
    """A failure that ends the command with exit status 1 and one line on standard error.

    Attributes:
        word: the first word of that line. It is part of the interface, because scripts match it.
        detail: the rest of the line.
        final: whether another try would fail in the same way, so that ``--wait`` ends.
    """

    word = "OTHER"
    final = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        """Return the line: the word, then what happened."""
        return f"{self.word} {self.detail}"

    def adding(self, more: str) -> ClientError:
        """Return the same error with more detail, for instance how many bytes had been exchanged."""
        return type(self)(f"{self.detail}; {more}")


class RefusedError(ClientError):
    """No server listens at the target."""

    word = "REFUSED"


class TimedOutError(ClientError):
    """The target did not answer within the time given."""

    word = "TIMEOUT"


class ResolveError(ClientError):
    """The host name does not resolve to an address."""

    word = "DNS"


class ResetError(ClientError):
    """The peer reset the connection (it sent a RST)."""

    word = "RESET"


class ClosedError(ClientError):
    """The peer closed the connection in order, but before the exchange was complete."""

    word = "CLOSED"


class TlsError(ClientError):
    """TLS failed: the handshake, or the stream that it protects."""

    word = "TLS"


class UntrustedError(TlsError):
    """A certificate is missing or was refused: the server's by this client, or this client's by the server."""

    final = True


class WrongNameError(UntrustedError):
    """The server's certificate is for other names."""


# What an errno of connect(2), send(2) or recv(2) means to a user. Any other is OTHER and keeps its own text.
_BY_ERRNO: dict[int, tuple[type[ClientError], str]] = {
    errno.ECONNREFUSED: (RefusedError, "connection refused"),
    errno.ENOENT: (RefusedError, "there is no such socket"),  # only a unix socket's path gives these two
    errno.ENOTDIR: (RefusedError, "there is no such socket"),
    errno.ETIMEDOUT: (TimedOutError, "no answer"),
    errno.ECONNRESET: (ResetError, "connection reset by the server"),
    errno.ENOTCONN: (ResetError, "connection reset by the server"),
    errno.ECONNABORTED: (ResetError, "connection aborted"),
    # A RST is reported as ECONNRESET once, to the first call that meets it. A send after an orderly end gets EPIPE.
    errno.EPIPE: (ClosedError, "the server has closed the connection"),
}


def from_os_error(error: OSError, what: object) -> ClientError:
    """Classify what a socket call raised.

    Args:
        error: what the call raised; it may be a ``socket.gaierror`` or a ``TimeoutError``.
        what: the subject of the message, usually the target.

    Returns:
        The error to raise ``from`` it; its message is one line.
    """
    if isinstance(error, socket.gaierror):
        return ResolveError(f"{what}: {(error.strerror or 'cannot be resolved').lower()}")
    # A TimeoutError raised by the socket module itself, not by the kernel, has no errno.
    code = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    kind, text = _BY_ERRNO.get(code or 0, (ClientError, (error.strerror or str(error)).lower()))
    return kind(f"{what}: {text}")
