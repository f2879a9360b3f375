"""Once a connection has been logged, nothing of it is in memory any more, even without a garbage collector."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from echoserver import Handler
from echoserver.serving.interpreter import has_gil
from server.kit import Peer, wait_until_idle
from server.ways import connections_alive, every_way, let_owners_release, no_collector, wait_for

REPLY = b"r" * (8 * 1024 * 1024)


class Held:
    """What handlers were made, what they were given and what they returned."""

    def __init__(self) -> None:
        self.handlers: list[weakref.ref[Handler]] = []
        self.data: list[bytes] = []
        self._references = sys.getrefcount(REPLY)

    def note(self, handler: Handler, data: bytes) -> None:
        self.handlers.append(weakref.ref(handler))
        self.data.append(data)

    @property
    def released(self) -> bool:
        control = [b"".join([b"a", b"b"])]
        unused = sys.getrefcount(control[0])
        return (
            all(handler() is None for handler in self.handlers)
            and all(sys.getrefcount(self.data[index]) == unused for index in range(len(self.data)))
            and sys.getrefcount(REPLY) == self._references
        )


def fail(_data: bytes) -> bytes:
    raise ValueError("on purpose")


def fail_with_a_cause(data: bytes) -> bytes:
    copy = [data]
    try:
        return fail(copy[0])
    except ValueError as error:
        raise RuntimeError("for a reason") from error


def fail_in_a_group(data: bytes) -> bytes:
    try:
        return fail_with_a_cause(data)
    except RuntimeError as error:
        raise BaseExceptionGroup("several", [error, KeyboardInterrupt()]) from None


def pieces(_data: bytes) -> Iterator[bytes]:
    reply = REPLY
    while True:
        yield reply


def pieces_that_fail(data: bytes) -> Iterator[bytes]:
    yield b"x"
    yield fail_with_a_cause(data)


def end_orderly(peer: Peer) -> None:
    peer.finish()
    peer.read_to_end()


def reset_amid_the_reply(peer: Peer) -> None:
    peer.read(100_000)
    peer.reset()


def read_to_break(peer: Peer) -> None:
    peer.read_to_break()


ENDS: dict[str, tuple[Callable[[bytes], Any], Callable[[Peer], None], str]] = {
    "eof": (lambda data: data, end_orderly, "eof"),
    "eof after a large reply": (lambda _: REPLY, end_orderly, "eof"),
    "reset": (lambda _: REPLY, reset_amid_the_reply, "reset"),
    "reset amid pieces": (pieces, reset_amid_the_reply, "reset"),
    "handler": (fail, read_to_break, "handler"),
    "handler with a cause": (fail_with_a_cause, read_to_break, "handler"),
    "handler in a group": (fail_in_a_group, read_to_break, "handler"),
    "pieces that fail": (pieces_that_fail, read_to_break, "handler"),
    "no reply": (lambda _: 5, read_to_break, "handler"),
}


def keeping_handler(held: Held, feed: Callable[[bytes], Any]) -> type[Handler]:
    class Keeping(Handler):
        blocking = False

        def feed(self, data: bytes) -> Any:
            held.note(self, data)
            self.kept = data
            return feed(data)

    return Keeping


@every_way
@pytest.mark.parametrize("limited", [{}, {"rate_limit": "1000/s"}], ids=["unlimited", "limited"])
@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_kept_of_a_connection_that_has_been_logged(serve, connect, log, dispatch, limited, how):
    feed, end, reason = ENDS[how]
    held = Held()
    server = serve(keeping_handler(held, feed), dispatch=dispatch, **limited)
    with no_collector():
        before = connections_alive()
        for _ in range(3):
            peer = connect(server)
            peer.send(b"some data")
            end(peer)
            assert log.ended(peer)["reason"] == reason
            peer.close()
        wait_until_idle(server)
        let_owners_release(server)
        # The thread that logged it may still be on its way out of the call.
        wait_for(lambda: held.released, "a handler, what it was given or its reply is still alive")
        for line in log.lines("connection ended"):  # a traceback holds the frames of the thread that logged it
            line.pop("exc_info", None)
        wait_for(lambda: connections_alive() == before, "a connection is still alive")
        assert len(held.handlers) == 3


@every_way
def test_the_handler_is_gone_while_its_connection_lingers(serve, connect, dispatch):
    held = Held()
    server = serve(keeping_handler(held, fail_with_a_cause), dispatch=dispatch)
    with no_collector():
        peer = connect(server)
        peer.send(b"some data")
        assert peer.read_to_end() == b""  # half-closed by the server, which waits for the end of this peer
        if has_gil():
            wait_for(lambda: held.released, "the handler outlives its connection")
        assert server.stats().active == 1
        peer.close()
        wait_until_idle(server)
        let_owners_release(server)
        wait_for(lambda: held.released, "the handler outlives its connection")


@every_way
def test_what_a_failed_connection_logs_says_where_it_failed(serve, connect, log, dispatch):
    """Cleared frames still tell files, lines and names."""
    server = serve(keeping_handler(Held(), fail_with_a_cause), dispatch=dispatch)
    peer = connect(server)
    peer.send(b"some data")
    peer.read_to_break()
    peer.close()
    error = log.ended(peer)["exc_info"]
    names = []
    trace = error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-2:] == ["feed", "fail_with_a_cause"]
    assert isinstance(error.__cause__, ValueError)
