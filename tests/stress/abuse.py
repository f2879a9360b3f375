"""Hostile peers: `abuse.py KIND PORT ...` prints `ready` and continues until standard input ends."""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from time import monotonic

ADDRESS = ("127.0.0.1", int(sys.argv[2]))
OVER = threading.Event()


def report(line: object) -> None:
    print(line, flush=True)


def wait_for_end_of_input() -> None:
    sys.stdin.read()
    OVER.set()


def never_read(count: str) -> None:
    """Send that many bytes and read nothing."""
    with socket.create_connection(ADDRESS) as sock:
        report("ready")
        left, block = int(count), bytes(65536)
        try:
            while left > 0:
                sock.sendall(block)
                left -= len(block)
        except ConnectionError:
            pass
        report(int(count) - left)
        OVER.wait()


def pipeline(size: str) -> None:
    """Send small messages without waiting for replies, as fast as the server takes them."""
    with socket.create_connection(ADDRESS) as sock:
        sock.setblocking(False)
        block, received = b"x" * int(size) * (65536 // int(size)), 0
        report("ready")
        while not OVER.is_set():
            readable, writable, _ = select.select([sock], [sock], [], 0.1)
            if writable:
                sock.send(block)
            if readable:
                received += len(sock.recv(262144))
    report(received)


def storm() -> None:
    """Connect repeatedly, and leave when the server closes; report how often, and how long it took at most."""
    refused, slowest = 0, 0.0
    report("ready")
    while not OVER.is_set():
        with socket.socket() as sock:
            sock.settimeout(5)
            began = monotonic()
            try:
                sock.connect(ADDRESS)
                sock.recv(1)
            except ConnectionError:
                pass
            refused, slowest = refused + 1, max(slowest, monotonic() - began)
            OVER.wait(0.002)
    report(f"{refused} {slowest}")


def crowd_outside(count: str) -> None:
    """Open that many connections, which wait in the kernel's queue."""
    socks = [socket.create_connection(ADDRESS) for _ in range(int(count))]
    report("ready")
    OVER.wait()
    for sock in socks:
        sock.close()


def resetter() -> None:
    """Connect, request a large reply, and reset in the middle of it."""
    report("ready")
    times = 0
    while not OVER.is_set():
        with socket.create_connection(ADDRESS) as sock:
            try:
                sock.sendall(bytes(262144))
                sock.recv(100)
            except ConnectionError:
                pass
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        times += 1
    report(times)


def trickle(count: str, every: str, hello: str) -> None:
    """Have so many peers send a ClientHello a byte at a time, and report when the server ended the first and the last.

    The hello is given in hexadecimal, and the time between two bytes in seconds.
    """
    data, socks = bytes.fromhex(hello), [socket.create_connection(ADDRESS) for _ in range(int(count))]
    report("ready")
    began, at, ended = monotonic(), 0, []
    while socks and not OVER.is_set():
        for sock in select.select(socks, [], [], 0)[0]:
            ended.append(monotonic() - began)
            socks.remove(sock)
            sock.close()
        for sock in socks:
            try:
                sock.send(data[at : at + 1])
            except ConnectionError:  # the next round finds it readable
                pass
        at += 1
        OVER.wait(float(every))
    report(f"{len(ended)} {min(ended)} {max(ended)}" if ended else "0 0 0")


KINDS: dict[str, Callable[..., None]] = {
    "never-read": never_read,
    "pipeline": pipeline,
    "storm": storm,
    "crowd-outside": crowd_outside,
    "resetter": resetter,
    "trickle": trickle,
}
threading.Thread(target=wait_for_end_of_input, daemon=True).start()
KINDS[sys.argv[1]](*sys.argv[3:])
