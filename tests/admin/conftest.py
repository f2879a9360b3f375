"""Fixtures of the admin endpoint's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from admin.kit import Administered, unix_in
from echoserver import ServerConfig
from server.kit import Peer


@pytest.fixture(params=["threads", "workers"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def administer(mode: str, tmp_path: Path) -> Iterator[Callable[..., Administered]]:
    """Start a server with its admin endpoint: `administer(option=value, endpoint="tcp://127.0.0.1:0", token="...")`."""
    with ExitStack() as stack:

        def start(*, endpoint: str = "", token: str = "", **options: Any) -> Administered:
            config = ServerConfig(**{"port": 0, "mode": mode, **options})
            return stack.enter_context(Administered(config, endpoint or unix_in(tmp_path), token))

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[[Administered], Peer]]:
    with ExitStack() as peers:
        yield lambda administered: peers.enter_context(Peer(administered.server.address))
