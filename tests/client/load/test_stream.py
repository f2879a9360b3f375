"""A connection's bytes without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.pattern import CHUNK, Pattern
from echoclient.load.recorder import Recorder
from echoclient.load.stream import Stream, WrongReplyError

PATTERN = Pattern("echo", 1)


def sent_by(stream: Stream) -> bytes:
    """Let the kernel take everything."""
    data = b""
    while stream.unsent:
        piece = bytes(stream.next_piece())
        assert 0 < len(piece) <= CHUNK
        data += piece
        stream.unsent -= len(piece)
    return data


@given(data=st.data())
def test_an_echo_cut_anywhere_completes_each_message_once(data):
    stream, recorder = Stream(data.draw(st.integers(0, 1000)), PATTERN), Recorder(0.0, planned=False)
    stream.issued = stream.start = stream.arrived = stream.start + data.draw(st.integers(0, 1 << 40))
    waiting, issued, done = b"", 0, 0
    for now in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            count, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 400))
            stream.issue(count, size, now, now)
            issued += count
            waiting += sent_by(stream)
        if waiting:
            cut = data.draw(st.integers(1, len(waiting)))
            done += stream.receive(waiting[:cut], now, recorder)
            waiting = waiting[cut:]
        assert stream.under_way == issued - done
    if waiting:
        done += stream.receive(waiting, 99.0, recorder)
    assert done == issued
    assert len(recorder.latency.fresh) == issued
    assert stream.under_way == stream.partial == 0
    assert stream.oldest is None


def test_a_lone_message_turns_into_the_general_form():
    stream, recorder = Stream(5, PATTERN), Recorder(0.0, planned=False)
    stream.issue_lone(64, 1.0)
    assert (stream.under_way, stream.oldest, stream.unsent) == (1, 1.0, 64)
    data = sent_by(stream)
    assert data == stream.lone_reply
    assert stream.receive(data[:10], 2.0, recorder) == 0
    assert (stream.under_way, stream.oldest, stream.partial, stream.offset) == (1, 1.0, 10, 10)
    assert stream.receive(data[10:], 3.0, recorder) == 1
    assert recorder.latency.fresh == [2.0]
    stream.issue_lone(64, 4.0)
    assert sent_by(stream) != data


def test_latency_counts_from_the_plan_and_service_from_the_sending():
    stream, recorder = Stream(0, PATTERN), Recorder(0.0, planned=True)
    stream.issue(1, 8, 1.0, 5.0)
    stream.receive(sent_by(stream), 6.0, recorder)
    assert recorder.latency.fresh == [5.0]
    assert recorder.service.fresh == [1.0]


@pytest.mark.parametrize("lone", [True, False])
def test_a_wrong_byte_is_reported_with_its_offset(lone):
    stream, recorder = Stream(3, PATTERN), Recorder(0.0, planned=False)
    for _ in range(2):
        if lone:
            stream.issue_lone(64, 0.0)
        else:
            stream.issue(1, 64, 0.0, 0.0)
        data = bytearray(sent_by(stream))
        if stream.issued - stream.start == 64:
            stream.receive(bytes(data), 0.0, recorder)
    data[7] ^= 1
    with pytest.raises(WrongReplyError) as wrong:
        stream.receive(bytes(data), 0.0, recorder)
    assert (wrong.value.offset, wrong.value.corrupt) == (71, True)


def test_more_than_was_sent_is_wrong_even_if_it_continues_the_pattern():
    stream = Stream(0, PATTERN)
    stream.issue(2, 8, 0.0, 0.0)
    data = sent_by(stream)
    stream.unsent = 8  # the kernel has taken the first message only
    with pytest.raises(WrongReplyError) as wrong:
        stream.receive(data, 0.0, Recorder(0.0, planned=False))
    assert (wrong.value.offset, wrong.value.corrupt) == (8, False)


def test_unverified_bytes_are_counted_all_the_same():
    stream, recorder = Stream(0, PATTERN, verify=False), Recorder(0.0, planned=False)
    stream.issue(1, 8, 0.0, 0.0)
    sent_by(stream)
    assert stream.receive(b"12345678", 1.0, recorder) == 1
    with pytest.raises(WrongReplyError):
        stream.receive(b"9", 1.0, recorder)


def test_a_restart_is_a_new_connection():
    stream = Stream(0, PATTERN)
    stream.issue(3, 8, 0.0, 0.0)
    stream.receive(sent_by(stream)[:12], 1.0, Recorder(0.0, planned=False))
    stream.restart(9)
    assert (stream.number, stream.offset, stream.partial, stream.under_way, stream.oldest) == (9, 0, 0, 0, None)
    assert stream.issued == Pattern.start(9)
