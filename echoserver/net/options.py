"""The socket options that every listener has, whoever made it."""

from __future__ import annotations

import socket


def prepare(listener: socket.socket) -> None:
    """Set the options of a listening socket.

    Raises
    ------
    OSError
        The socket is closed.

    """
    # A peer that gives up after the kernel has reported it must not block the accept (accept(2), NOTES).
    listener.setblocking(False)
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        # Accepted sockets inherit both, which saves two calls for each. Replies are whole messages: waiting to fill a
        # segment would only delay them. And urgent data is answered in its place (RFC 6093).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
