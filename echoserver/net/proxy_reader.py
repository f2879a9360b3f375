"""Receiving a PROXY header from a socket, and nothing that comes after it."""

from __future__ import annotations

import socket

from echoserver.net.proxy import ProxyParser
from echoserver.net.proxy_header import ProxyHeader

_PEEK_BYTES = 4096


class ProxyReader:
    """Receives the header with which a connection begins.

    It looks at what has arrived before receiving it, so what follows the header is still in the socket.

    Parameters
    ----------
    sock:
        A connected socket, in either mode.

    """

    __slots__ = ("_parser", "_sock", "has_received")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parser = ProxyParser()
        self.has_received = False
        """Whether anything has come."""

    def read(self) -> ProxyHeader | None:
        """Receive up to the end of the header; return `None` if the stream ends before that.

        Raises
        ------
        BlockingIOError
            It is not complete, and the socket does not block. Call this again when there is more.
        ProxyError
            The stream does not begin with a valid header.
        OSError
            The connection is broken.

        """
        while peeked := self._sock.recv(_PEEK_BYTES, socket.MSG_PEEK):
            self.has_received = True
            header = self._parser.feed(peeked)
            # Without the receive, the next look would return the same bytes at once.
            left = len(peeked) - len(self._parser.rest)
            while left:
                left -= len(self._sock.recv(left))
            if header is not None:
                return header
        return None
