"""What the tests of the handlers share: a peer, making a handler as the server does, and what it replies."""

from __future__ import annotations

import pytest

from echoserver.errors import ConfigError
from echoserver.handlers import Handler, Peer, find_handler

PEER = Peer("127.0.0.1", 5000)


def say(handler: Handler, *pieces: bytes) -> bytes:
    """Return all that a handler replies to a peer that sends these pieces and then half-closes."""
    return b"".join([handler.greet(), *map(handler.feed, pieces), handler.finish()])


def make(spec, **options) -> Handler:
    return find_handler(spec, options).make(PEER)


def refusal(spec, **options) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        find_handler(spec, options)
    assert str(refused.value).isprintable()
    return refused.value
