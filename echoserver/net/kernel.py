"""What the kernel knows of a connection and the program doesn't: what waits to be received, what the peer has taken."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios

# linux/tcp.h, struct tcp_info: it begins with the connection's state, and the field tcpi_bytes_acked is a 64-bit number
# that only grows.
_TCP_INFO = socket.TCP_INFO if sys.platform == "linux" else 0
_BYTES_ACKED_END = 128
_TCP_CLOSE = b"\x07"


def unread(sock: socket.socket) -> int:
    """Return how many bytes wait to be received (FIONREAD, tcp(7)); 0 where that can't be told."""
    return _ask(sock, termios.FIONREAD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how many sent bytes the peer may yet acknowledge (SIOCOUTQ, tcp(7)); 0 where that can't be told."""
    # A connection that was reset goes on saying what was pending.
    return 0 if _tcp_info(sock, 1) == _TCP_CLOSE else _ask(sock, termios.TIOCOUTQ)


def acknowledged(sock: socket.socket) -> int:
    """Return how many bytes the peer has acknowledged so far (TCP_INFO, tcp(7)); 0 where that can't be told."""
    info = _tcp_info(sock, _BYTES_ACKED_END)
    return int.from_bytes(info[_BYTES_ACKED_END - 8 :], sys.byteorder) if len(info) == _BYTES_ACKED_END else 0


def _tcp_info(sock: socket.socket, size: int) -> bytes:
    if not _TCP_INFO:
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, size)
    except OSError:  # no TCP socket, or gone
        return b""


def _ask(sock: socket.socket, request: int) -> int:
    try:
        answer = fcntl.ioctl(sock.fileno(), request, b"\0\0\0\0")
    except (OSError, ValueError):  # not known for sockets on this platform, or the socket is gone
        return 0
    (count,) = struct.unpack("i", answer)
    return int(count)
