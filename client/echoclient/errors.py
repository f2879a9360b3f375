"""What can go wrong between this client and a server, each with the word that scripts match."""

from __future__ import annotations

import errno
import socket


class ClientError(Exception):
    """A failure that ends the command with exit status 1 and one line on standard error.

    ``word`` is the first word of that line and part of the interface: scripts match it.
    """

    word = "OTHER"

    def __str__(self) -> str:
        """Return the line without the program's name: the word, then what happened."""
        return f"{self.word} {super().__str__()}"


class RefusedError(ClientError):
    """Nothing listens at the target."""

    word = "REFUSED"


class TimedOutError(ClientError):
    """The target did not answer within the time given."""

    word = "TIMEOUT"


class ResolveError(ClientError):
    """The host name does not resolve to an address."""

    word = "DNS"


class ResetError(ClientError):
    """The peer broke the connection (RST), or wrote off what we sent."""

    word = "RESET"


class ClosedError(ClientError):
    """The peer ended the connection in good order, but before the conversation was over."""

    word = "CLOSED"


# What an errno of connect(2), send(2) or recv(2) means to a user. Every other one is OTHER and keeps its own text.
_BY_ERRNO: dict[int, type[ClientError]] = {
    errno.ECONNREFUSED: RefusedError,
    errno.ETIMEDOUT: TimedOutError,
    errno.ECONNRESET: ResetError,
    errno.ECONNABORTED: ResetError,
    # A send after the peer's RST has already been reported once.
    errno.EPIPE: ResetError,
}


def from_os_error(error: OSError, what: str) -> ClientError:
    """Classify what a socket call raised.

    Args:
        error: what the call raised, ``socket.gaierror`` and ``TimeoutError`` included.
        what: the subject of the line, for example ``"127.0.0.1:9000"``.

    Returns:
        The error to raise ``from`` it, its text one line.
    """
    if isinstance(error, socket.gaierror):
        kind: type[ClientError] = ResolveError
    elif isinstance(error, TimeoutError):
        kind = TimedOutError
    else:
        kind = _BY_ERRNO.get(error.errno or 0, ClientError)
    return kind(f"{what}: {(error.strerror or str(error)).lower()}")
