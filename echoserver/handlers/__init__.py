"""Handlers: what is said to a peer. `base` says what one is and finds it; then one file a handler."""

from echoserver.handlers.base import Handler, HandlerFactory, HandlerSpec, Last, Peer, Reply, find_handler

__all__ = ["Handler", "HandlerFactory", "HandlerSpec", "Last", "Peer", "Reply", "find_handler"]
