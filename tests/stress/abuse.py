"""Peers that nobody would invite: `abuse.py KIND PORT ...`. Says `ready`, and goes on until standard input ends."""

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


def say(line: object) -> None:
    print(line, flush=True)


def until_told() -> None:
    sys.stdin.read()
    OVER.set()


def never_read(count: str) -> None:
    """Send so many bytes and read nothing."""
    with socket.create_connection(ADDRESS) as sock:
        say("ready")
        left, block = int(count), bytes(65536)
        try:
            while left > 0:
                sock.sendall(block)
                left -= len(block)
        except ConnectionError:
            pass
        say(int(count) - left)
        OVER.wait()


def pipeline(size: str) -> None:
    """Send small messages without waiting for replies, as fast as the server takes them."""
    with socket.create_connection(ADDRESS) as sock:
        sock.setblocking(False)
        block, got = b"x" * int(size) * (65536 // int(size)), 0
        say("ready")
        while not OVER.is_set():
            readable, writable, _ = select.select([sock], [sock], [], 0.1)
            if writable:
                sock.send(block)
            if readable:
                got += len(sock.recv(262144))
    say(got)


def storm() -> None:
    """Connect over and over, and leave when the server closes; say how often, and how long it took at most."""
    refused, slowest = 0, 0.0
    say("ready")
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
    say(f"{refused} {slowest}")


def crowd_outside(count: str) -> None:
    """Connect so many times and wait in the kernel's queue."""
    socks = [socket.create_connection(ADDRESS) for _ in range(int(count))]
    say("ready")
    OVER.wait()
    for sock in socks:
        sock.close()


def resetter() -> None:
    """Connect, ask for much, and reset in the middle of the reply."""
    say("ready")
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
    say(times)


KINDS: dict[str, Callable[..., None]] = {
    "never-read": never_read,
    "pipeline": pipeline,
    "storm": storm,
    "crowd-outside": crowd_outside,
    "resetter": resetter,
}
threading.Thread(target=until_told, daemon=True).start()
KINDS[sys.argv[1]](*sys.argv[3:])
