"""Reading the server name out of a ClientHello (RFC 8446, section 4.1.2; RFC 6066, section 3).

`SSLContext.sni_callback` would tell it too, but any peer can make the interpreter print a traceback there: it decodes
the name as ASCII before it calls.
"""

from __future__ import annotations

_HANDSHAKE_RECORD, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _HOST_NAME = 0, 0
_VERSION_AND_RANDOM = 34


class _Reader:
    """Takes fields off the front of a message."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise ValueError("cut short")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """Take a length of `size` bytes, and as many bytes as it says."""
        return self.take(self.number(size))


def server_name(flight: bytes) -> str | None:
    """Return the host name that a client asks for.

    Parameters
    ----------
    flight:
        What the client has sent from the beginning of the connection. What follows the ClientHello is ignored.

    Returns
    -------
    str or None
        The name, bytes other than ASCII escaped; `None` if the client names none or the message is not complete.

    """
    try:
        return _name_in(_first_message(_Reader(flight)))
    except ValueError:
        return None


def _first_message(records: _Reader) -> _Reader:
    message = b""
    while len(message) < 4 or len(message) - 4 < int.from_bytes(message[1:4]):
        if records.number(1) != _HANDSHAKE_RECORD:
            raise ValueError("not a handshake")
        records.take(2)
        message += records.vector(2)
    reader = _Reader(message)
    if reader.number(1) != _CLIENT_HELLO:
        raise ValueError("not a ClientHello")
    return _Reader(reader.vector(3))


def _name_in(hello: _Reader) -> str | None:
    hello.take(_VERSION_AND_RANDOM)
    for size in (1, 2, 1):  # the session, the cipher suites, the compression methods
        hello.vector(size)
    extensions = _Reader(hello.vector(2))
    while extensions.data:
        kind, extension = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names = _Reader(_Reader(extension).vector(2))
            while names.data:
                kind, name = names.number(1), names.vector(2)
                if kind == _HOST_NAME:
                    return name.decode("ascii", "backslashreplace")
    return None
