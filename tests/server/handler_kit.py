"""What the tests of the handlers share: a peer, making a handler as the server does, and what it replies."""

from __future__ import annotations

import pytest

from echoserver.errors import ConfigError
from echoserver.handlers import Handler, Peer, find_handler

PEER = Peer("127.0.0.1", 5000)
BUILT_IN_NAMES = "chargen, daytime, discard, echo, frames, info, lines, upper"


RING = bytes(range(32, 127))


def pattern(count: int) -> bytes:
    """Return the first lines of the pattern in RFC 864: line N has the characters N to N+71 of the ring of 95."""
    return b"".join(bytes(RING[(line + place) % 95] for place in range(72)) + b"\r\n" for line in range(count))


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
