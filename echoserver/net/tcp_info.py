"""What the kernel knows of a TCP connection (TCP_INFO in tcp(7); struct tcp_info in linux/tcp.h)."""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass

_STATES = (
    "established",
    "syn-sent",
    "syn-received",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listening",
    "closing",
)
_SIZE = 232  # up to and with tcpi_snd_wnd (Linux 5.4)
_RETRANSMITS, _UNACKED, _RTT, _WINDOW = 2, 24, 68, 228


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """A part of `struct tcp_info`."""

    state: str
    retransmits: int
    """Unanswered retransmissions in a row."""
    rtt: float
    """The smoothed round-trip time, in seconds."""
    window: int | None
    """How many bytes the peer would take; `None` before Linux 5.4."""


def tcp_info(descriptor: int) -> TcpInfo | None:
    """Return what the kernel knows of a socket; `None` if this isn't Linux, or it is no TCP connection."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            info = _ask(sock)
    except OSError:  # closed, or no descriptors are left
        return None
    if len(info) < _RTT + 4 or not 1 <= info[0] <= len(_STATES):
        return None
    window = _word(info, _WINDOW) if len(info) >= _SIZE else None
    return TcpInfo(_STATES[info[0] - 1], info[_RETRANSMITS], _word(info, _RTT) / 1e6, window)


def waiting_peers(listener: socket.socket) -> int | None:
    """Return how many peers wait to be accepted at a TCP listener; `None` where the kernel can't tell.

    For a listener, `tcpi_unacked` is the length of the queue of accept(2) (tcp_get_info() in net/ipv4/tcp.c).
    """
    info = _ask(listener)
    return _word(info, _UNACKED) if len(info) >= _UNACKED + 4 else None


def _ask(sock: socket.socket) -> bytes:
    if sys.platform != "linux" or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:  # closed
        return b""


def _word(info: bytes, at: int) -> int:
    (word,) = struct.unpack_from("I", info, at)
    return int(word)
