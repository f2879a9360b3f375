"""Replies that are the last one, and replies that come in pieces."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoserver import Handler
from echoserver.handlers import Last
from server.kit import PATIENCE, scripted, wait_until_idle
from server.ways import every_way, wait_for, wait_until_settled

MIB = 1024 * 1024


def talking(**functions: Any) -> type[Handler]:
    return scripted(blocking=False, **functions)


@every_way
@pytest.mark.parametrize("where", ["greet", "feed", "finish", "pieces", "greeting in pieces"])
def test_nothing_follows_a_last_reply(serve, connect, log, dispatch, where):
    said: list[str] = []
    script = {
        "greet": {"greet": lambda: Last(b"bye"), "finish": lambda: said.append("finish") or b"late"},
        "feed": {"feed": lambda _: Last(b"bye"), "finish": lambda: said.append("finish") or b"late"},
        "finish": {"feed": lambda _: b"", "finish": lambda: Last(b"bye")},
        "pieces": {"feed": lambda _: iter([b"", Last(b"bye"), b"late"])},
        "greeting in pieces": {"greet": lambda: iter([Last(b"bye"), b"late"])},
    }[where]
    server = serve(talking(**script), dispatch=dispatch)
    peer = connect(server)
    if not where.startswith("greet"):
        peer.send(b"hello")
    if where == "finish":
        peer.finish()
    assert peer.read_to_end() == b"bye"
    peer.close()
    line = log.ended(peer)
    assert (line["reason"], line["replies"]) == ("eof" if where == "finish" else "finished", 1)
    assert said == []
    wait_until_settled(server)


@every_way
def test_an_empty_last_reply_ends_it_too(serve, connect, log, dispatch):
    server = serve(talking(feed=lambda _: Last()), dispatch=dispatch)
    peer = connect(server)
    peer.send(b"hello")
    assert peer.read_to_end() == b""
    peer.close()
    assert log.ended(peer)["reason"] == "finished"


@every_way
def test_a_large_last_reply_arrives_whole_although_the_peer_goes_on_sending(serve, connect, dispatch):
    server = serve(talking(feed=lambda _: Last(b"x" * (4 * MIB))), dispatch=dispatch)
    peer = connect(server)
    peer.send(b"hello")
    peer.send(b"more" * 10_000)
    assert peer.read_to_end() == b"x" * (4 * MIB)


@every_way
def test_pieces_arrive_in_order_and_count_as_one_reply(serve, connect, log, dispatch):
    server = serve(talking(feed=lambda data: iter([b"a", b"", data, b"z" * MIB, b""])), dispatch=dispatch)
    peer = connect(server)
    peer.send(b"hello")
    assert peer.read(6 + MIB) == b"ahello" + b"z" * MIB
    peer.send(b"again")
    peer.finish()
    assert peer.read_to_end() == b"aagain" + b"z" * MIB
    line = log.ended(peer)
    assert (line["replies"], line["bytes_out"], line["reason"]) == (2, 2 * (6 + MIB), "eof")


@every_way
@pytest.mark.parametrize("place", ["greet", "finish"])
def test_a_greeting_and_last_words_may_come_in_pieces(serve, connect, dispatch, place):
    server = serve(talking(**{place: lambda: iter([b"one ", b"two"])}), dispatch=dispatch)
    assert connect(server).swap(b"!") == (b"one two!" if place == "greet" else b"!one two")


@every_way
@pytest.mark.parametrize("limit", [{}, {"rate_limit": "1000000/s"}, {"rate_limit": "100MB/s"}], ids=["none", "n", "B"])
def test_a_half_close_amid_the_pieces_still_gets_all_of_them(serve, connect, log, dispatch, limit):
    server = serve(
        talking(feed=lambda data: (data * 50_000 for _ in range(40)), finish=lambda: b"."), dispatch=dispatch, **limit
    )
    peer = connect(server, receive_buffer=4096)
    peer.send(b"?")
    assert peer.read(10) == b"?" * 10
    peer.finish()
    assert peer.read_to_end() == b"?" * (2_000_000 - 10) + b"."
    assert log.ended(peer)["reason"] == "eof"


@every_way
def test_a_request_that_comes_amid_the_pieces_is_answered_after_them(serve, connect, dispatch):
    server = serve(talking(feed=lambda data: (data for _ in range(300_000 // len(data)))), dispatch=dispatch)
    peer = connect(server, receive_buffer=4096)
    peer.send(b"a" * 1000)
    first = peer.read(1)
    peer.send(b"b" * 1000)
    peer.finish()
    got = first + peer.read_to_end()
    assert got == b"a" * 300_000 + b"b" * 300_000


@every_way
@given(pieces=st.lists(st.binary(max_size=70_000), max_size=40), ends=st.booleans())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_stay_in_order_however_a_reply_is_cut(serve, connect, dispatch, pieces, ends):
    server = serve(talking(feed=lambda data: iter([*pieces, (Last if ends else bytes)(data)])), dispatch=dispatch)
    with connect(server) as peer:
        peer.send(b"<end>")
        peer.finish()
        assert peer.read_to_end() == b"".join(pieces) + b"<end>"
    server.stop()


@every_way
def test_a_long_reply_to_a_slow_reader_costs_a_few_pieces_of_memory(serve, connect, dispatch):
    count, size = 64, MIB
    server = serve(talking(feed=lambda _: (bytes(size) for _ in range(count))), dispatch=dispatch)
    peer = connect(server, receive_buffer=65536)
    memory = memoryview(bytearray(65536))
    tracemalloc.start()
    try:
        peer.send(b"?")
        left = count * size
        while left:
            left -= peer.sock.recv_into(memory)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * size


@every_way
def test_pieces_are_closed_in_the_serving_thread_when_the_peer_leaves(serve, connect, log, dispatch):
    served: list[threading.Thread] = []
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        served.append(threading.current_thread())
        try:
            while True:
                yield b"x" * 100_000
        finally:
            served.append(threading.current_thread())
            closed.set()

    server = serve(talking(feed=lambda _: endless()), dispatch=dispatch, workers=1)
    peer = connect(server)
    peer.send(b"?")
    peer.read(500_000)
    peer.reset()
    assert closed.wait(PATIENCE)
    assert server._mode.serves_in(served[0])
    assert served[0] is served[1]
    assert log.ended(peer)["reason"] == "reset"
    wait_until_settled(server)


class Pieces:
    """An iterator that fails where the test says so."""

    def __init__(self, *pieces: object, close: Exception | None = None) -> None:
        self._pieces = iter(pieces)
        self._close = close

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> object:
        piece = next(self._pieces)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        if self._close is not None:
            raise self._close


@every_way
@pytest.mark.parametrize("where", ["greet", "feed", "finish"])
@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b"one", ValueError("on purpose")], "on purpose"),
        ([b"one", "two"], "the handler yielded str; it must be bytes or Last"),
        ([b"one", None], "the handler yielded NoneType; it must be bytes or Last"),
    ],
)
def test_pieces_that_fail_end_it_as_a_handler_that_fails(serve, connect, log, dispatch, where, pieces, error):
    script = {where: (lambda _: Pieces(*pieces)) if where == "feed" else (lambda: Pieces(*pieces))}
    server = serve(talking(**script), dispatch=dispatch)
    peer = connect(server)
    if where == "feed":
        peer.send(b"?")
    elif where == "finish":
        peer.finish()
    assert peer.read_to_break() == b"one"
    peer.close()
    line = log.ended(peer)
    assert (line["reason"], str(line["exc_info"])) == ("handler", error)
    wait_until_settled(server)


@every_way
def test_pieces_that_cannot_be_closed_end_it_as_a_handler_that_fails(serve, connect, log, dispatch):
    server = serve(talking(feed=lambda _: Pieces(b"one", Last(b"two"), close=ValueError("no"))), dispatch=dispatch)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read_to_break() in (b"one", b"onetwo")
    peer.close()
    line = log.ended(peer)
    assert (line["reason"], str(line["exc_info"])) == ("handler", "no")
    assert server.stats().handler_errors == 1


@every_way
@pytest.mark.parametrize("piece", [b"x" * 1000, b""], ids=["full", "empty"])
def test_endless_pieces_end_with_the_longest_life(serve, connect, log, background, dispatch, piece):
    server = serve(talking(feed=lambda _: itertools.repeat(piece)), dispatch=dispatch, max_lifetime=0.3)
    peer = connect(server)
    peer.send(b"?")
    background(peer.read_to_break).result(PATIENCE)
    assert log.ended(peer)["reason"] == "expired"
    wait_until_idle(server)


@every_way
@pytest.mark.parametrize("piece", [b"x" * 1000, b""], ids=["full", "empty"])
def test_endless_pieces_end_with_the_drain(serve, connect, log, background, dispatch, piece):
    server = serve(talking(greet=lambda: b"!", feed=lambda _: itertools.repeat(piece)), dispatch=dispatch)
    peer = connect(server)
    assert peer.read(1) == b"!"
    peer.send(b"?")
    (connection,) = server.connections()
    wait_for(lambda: connection.stats.bytes_in, "nothing was received")
    read = background(peer.read_to_break)
    assert server.stop(timeout=0.1) == [f"1 {peer.name}"]
    read.result(PATIENCE)
    assert log.ended(peer)["reason"] == "cut"
