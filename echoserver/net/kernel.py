"""What only the kernel knows of a connection: what waits to be received, and what the peer has taken."""

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
_SO_NWRITE = 0x1024 if sys.platform == "darwin" else 0  # sys/socket.h of macOS: the bytes in the send buffer


def unread(sock: socket.socket) -> int:
    """Return how many bytes wait to be received (FIONREAD, tcp(7)); 0 where the kernel can't tell."""
    return _ask(sock, termios.FIONREAD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how much of what was sent the peer has not taken yet (SIOCOUTQ, tcp(7)); 0 where the kernel can't tell.

    On a unix socket it is 0: what was sent waits at the peer's end, and closing this end takes nothing away.
    """
    # A connection that was reset still reports what was pending.
    return 0 if sock.family == socket.AF_UNIX or _tcp_info(sock, 1) == _TCP_CLOSE else _send_queue(sock)


def taken(sock: socket.socket, sent: int) -> int:
    """Return how many bytes the peer has taken so far.

    While nothing more is sent, the number grows as the peer takes something, and only then. Compare it with an earlier
    one for being different: where it is told by the send queue, a send can make it smaller.

    - On TCP sockets of Linux it is what the peer's kernel has acknowledged (TCP_INFO, tcp(7)).
    - Elsewhere it is `sent` less what is in the send queue. On a unix socket of Linux the queue holds the memory of
      whole buffers, of up to 64 KiB each: the number may be negative, and grows when a buffer has been read to its end.

    Parameters
    ----------
    sock:
        A connected socket; once it is closed, the number says nothing.
    sent:
        How many bytes have been handed to the kernel so far.

    """
    info = _tcp_info(sock, _BYTES_ACKED_END)
    if len(info) == _BYTES_ACKED_END:
        return int.from_bytes(info[_BYTES_ACKED_END - 8 :], sys.byteorder)
    return sent - _send_queue(sock)


def _tcp_info(sock: socket.socket, size: int) -> bytes:
    if not _TCP_INFO:
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, size)
    except OSError:  # not a TCP socket, or closed
        return b""


def _send_queue(sock: socket.socket) -> int:
    if not _SO_NWRITE:
        return _ask(sock, termios.TIOCOUTQ)
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
    except OSError:  # closed
        return 0


def _ask(sock: socket.socket, request: int) -> int:
    try:
        answer = fcntl.ioctl(sock.fileno(), request, b"\0\0\0\0")
    except (OSError, ValueError):  # not known for sockets on this platform, or the socket is closed
        return 0
    (count,) = struct.unpack("i", answer)
    return int(count)
