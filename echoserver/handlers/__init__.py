"""Handlers: what they are (`handler`), how one is found by name (`finding`), and the built-in ones, a module each."""

from echoserver.handlers.finding import HandlerFactory, HandlerSpec, find_handler
from echoserver.handlers.handler import Handler, Last, Peer, Reply

__all__ = ["Handler", "HandlerFactory", "HandlerSpec", "Last", "Peer", "Reply", "find_handler"]
