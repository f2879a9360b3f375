"""Fixtures for the client's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from client.kit import Manners, Peer, Terminal, command, echo


@pytest.fixture
def serve() -> Iterator[Callable[..., Peer]]:
    """Start a server: `serve(manners)`; it is stopped when the test ends."""
    with ExitStack() as stack:

        def start(manners: Manners = echo, *, port: int = 0) -> Peer:
            peer = Peer(manners, port=port)
            stack.callback(peer.stop)
            return peer

        yield start


@pytest.fixture
def terminal(serve: object, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start `echoclient` in a terminal: `terminal("connect", port)`; it is killed if it outlives the test."""
    with ExitStack() as stack:

        def start(*arguments: object, **options: object) -> Terminal:
            options.setdefault("XDG_STATE_HOME", str(tmp_path))
            return stack.enter_context(closing(Terminal(command(*arguments), **options)))

        yield start


@pytest.fixture
def files(tmp_path: Path) -> object:
    """Certificates and keys in files; skips where trustme is not installed."""
    kit = pytest.importorskip("client.tls_kit")
    return kit.Files(tmp_path)
