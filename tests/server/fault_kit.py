"""Servers with faults over each transport, and what a peer sees of them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Any

import pytest

from echoserver import Server
from server.over_kit import Over, Wire, join

Start = Callable[..., Server]
Join = Callable[..., Wire]


@pytest.fixture
def with_faults(serve: Callable[..., Server], mode: str, dispatch: str, over: Over, tmp_path: Any) -> Start:
    """Start a server with these rules: `with_faults("delay=50ms", handler=..., option=...)`."""

    def start_with(*rules: str, handler: Any = "echo", **options: Any) -> Server:
        ours = {"dispatch": dispatch} if mode == "workers" else {}
        return serve(handler, fault=list(rules), **{"fault_seed": 1, **ours, **over.options(tmp_path), **options})

    return start_with


@pytest.fixture
def wired(serve: object, over: Over) -> Iterator[Join]:
    """Connect to a server over the transport: `wired(server)`."""
    with ExitStack() as sockets:

        def joined(server: Server, **options: Any) -> Wire:
            peer = join(server, over, **options)
            sockets.enter_context(peer.sock)
            return peer

        yield joined


def heard(peer: Wire) -> tuple[bytes, str]:
    """Read to the end of the stream; return what came, and whether it ended by "end" or by "reset"."""
    got = b""
    try:
        while piece := peer.read_some():
            got += piece
    except (ConnectionResetError, BrokenPipeError):
        return got, "reset"
    return got, "end"


def is_silent(peer: Wire, seconds: float) -> bool:
    """Return whether nothing comes for a time, not even the end."""
    peer.sock.settimeout(seconds)
    try:
        peer.read_some(1)
    except TimeoutError:
        return True
    finally:
        peer.sock.settimeout(10)
    return False


def took(action: Callable[[], object]) -> float:
    """Return how many seconds an action takes."""
    began = monotonic()
    action()
    return monotonic() - began


def sends_of(peer: Wire, count: int) -> list[bytes]:
    """Read so many bytes, and return what each receive got."""
    pieces = []
    while count:
        pieces.append(peer.read_some(count))
        count -= len(pieces[-1])
    return pieces


def arrives(sock: socket.socket) -> bytes:
    """Return what has come by now, and leave it there."""
    return sock.recv(65536, socket.MSG_PEEK)


def bye(peer: Any) -> None:
    """Half-close once the server has ended its own side, when TLS expects no answer to that."""
    if not hasattr(peer, "tls"):
        peer.finish()
        return
    with suppress(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.sock.sendall(peer.outgoing.read())
    peer.break_off()
