"""What a handler returns has the same effect in every mode: what the peer gets, the reason, and the counters."""

from __future__ import annotations

import pytest

from echoserver.handlers import Last
from server.kit import scripted
from server.ways import every_way, wait_until_settled


@pytest.fixture
def mode():
    return "threads"


def pieces(*parts: bytes):
    yield from parts


@every_way
@pytest.mark.parametrize(
    ("last", "sent", "replies"),
    [
        pytest.param(lambda: Last(b"bye"), b"bye", 1, id="bytes"),
        pytest.param(lambda: Last(b""), b"", 0, id="empty"),
        pytest.param(lambda: pieces(b"b", Last(b"ye")), b"bye", 1, id="pieces"),
        pytest.param(lambda: pieces(b"bye", Last(b"")), b"bye", 1, id="pieces-empty"),
    ],
)
def test_a_last_reply_counts_once(serve, connect, log, mode, dispatch, last, sent, replies):
    server = serve(scripted(feed=lambda _: last(), blocking=dispatch != "inline"), mode=mode, dispatch=dispatch)
    peer = connect(server)
    peer.send(b"hello")
    assert peer.read_to_end() == sent
    line = log.ended(peer)
    assert (line["reason"], line["replies"]) == ("finished", replies)


@every_way
@pytest.mark.parametrize("last", [lambda: Last(b"bye"), lambda: pieces(b"b", Last(b"ye"))], ids=["bytes", "pieces"])
def test_a_peer_that_ended_first_stays_the_reason_when_the_last_words_are_a_last(
    serve, connect, log, mode, dispatch, last
):
    server = serve(scripted(finish=last, blocking=dispatch != "inline"), mode=mode, dispatch=dispatch)
    peer = connect(server)
    assert peer.swap(b"hello") == b"hellobye"
    assert log.ended(peer)["reason"] == "eof"
    wait_until_settled(server)


@every_way
def test_the_last_piece_is_sent_before_the_iterator_is_closed(serve, connect, log, mode, dispatch):
    def failing_at_the_end(_data: bytes):
        try:
            yield b"one "
            yield Last(b"two")
        finally:
            raise ValueError("at the end")

    server = serve(scripted(feed=failing_at_the_end, blocking=dispatch != "inline"), mode=mode, dispatch=dispatch)
    peer = connect(server)
    peer.send(b"hello")
    assert peer.read_to_end() == b"one two"
    assert log.ended(peer)["reason"] == "handler"
