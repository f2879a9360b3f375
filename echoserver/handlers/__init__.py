"""Handlers: what they are (`handler`), how one is found by name (`finding`), and the built-in ones, a module each."""

from echoserver.errors import PeerError
from echoserver.handlers.finding import HandlerFactory, HandlerSpec, find_handler
from echoserver.handlers.handler import Handler, Last, Reply
from echoserver.handlers.peer import ConnectionFacts, Facts, Peer, Proxied

__all__ = [
    "ConnectionFacts",
    "Facts",
    "Handler",
    "HandlerFactory",
    "HandlerSpec",
    "Last",
    "Peer",
    "PeerError",
    "Proxied",
    "Reply",
    "find_handler",
]
