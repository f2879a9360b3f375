"""The handlers `frames` and `lines`, without a server: every way to cut the same bytes gives the same replies."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.handlers import Handler, PeerError
from server.handler_kit import make, refusal, say

MIB = 1024 * 1024


def frame(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return the data in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def outcome(handler: Handler, pieces: Iterable[bytes]) -> tuple[bytes, str]:
    """Return all that a handler replies, and why it ends the connection; empty if it doesn't."""
    said = b""
    try:
        for piece in pieces:
            reply = handler.feed(piece)
            if isinstance(reply, bytes):
                said += reply
            else:
                for part in reply:
                    said += part
    except PeerError as error:
        return said, str(error)
    return said + handler.finish(), ""


def expected_frames(data: bytes, most: int) -> tuple[bytes, str]:
    start = 0
    while start + 4 <= len(data):
        (length,) = struct.unpack_from("!I", data, start)
        if length > most:
            return data[:start], f"a frame of {length} bytes is longer than max_frame = {most} bytes"
        if start + 4 + length > len(data):
            break
        start += 4 + length
    return data[:start], ""


def expected_lines(data: bytes, most: int) -> tuple[bytes, str]:
    said = b""
    *lines, rest = data.split(b"\n")
    for line in lines:
        if len(line) > most:
            break
        said += line + b"\n"
    else:
        if len(rest) <= most:
            return said, ""
    return said, f"a line is longer than max_line = {most} bytes"


@given(st.lists(st.binary(max_size=12), max_size=8), st.binary(max_size=6), st.lists(st.integers(0, 200), max_size=12))
def test_frames_come_back_whole_however_they_are_cut(payloads, rest, places):
    data = b"".join(map(frame, payloads)) + rest
    assert outcome(make("frames", max_frame=10), cut(data, places)) == expected_frames(data, 10)


@given(
    st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"0123456789", b"\r\n"]), max_size=30),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_lines_come_back_whole_however_they_are_cut(parts, places):
    data = b"".join(parts)
    assert outcome(make("lines", max_line=12), cut(data, places)) == expected_lines(data, 12)


def test_many_lines_in_one_piece_are_one_reply():
    lines = make("lines")
    data = b"\n".join([b"x"] * 10_000) + b"\nrest"
    assert lines.feed(data) == data[:-4]
    assert lines.feed(b"!\n") == b"rest!\n"


def test_many_frames_in_one_piece_are_one_reply():
    frames = make("frames")
    data = frame(b"one") + frame(b"") + frame(b"two")
    assert frames.feed(data + b"\0\0") == data
    assert frames.feed(b"\0\1!") == frame(b"!")


def test_whole_messages_come_back_without_a_copy():
    data = frame(b"x" * 1000)
    assert make("frames").feed(data) is data
    data = b"x\n" * 1000
    assert make("lines").feed(data) is data


@pytest.mark.parametrize(("name", "unfinished"), [("lines", b"a\nrest"), ("frames", frame(b"a") + b"\0\0\0\7rest")])
def test_what_is_unfinished_at_the_end_of_input_is_dropped(name, unfinished):
    assert say(make(name), unfinished) in unfinished[:-4]


@pytest.mark.parametrize(
    ("name", "options", "data"),
    [
        ("frames", {"max_frame": 16 * MIB}, frame(b"f" * 16 * MIB)),
        ("lines", {"max_line": 16 * MIB}, b"l" * 16 * MIB + b"\n"),
    ],
)
@pytest.mark.parametrize("size", [65_536, 1_000])
def test_a_long_message_is_copied_a_fixed_number_of_times(name, options, data, size):
    """What is moved while it grows shows as memory: a copy of all that is held, for each piece, would double it."""
    handler = make(name, **options)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    tracemalloc.start()
    try:
        for piece in pieces[:-1]:
            assert handler.feed(piece) == b""
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.3 * len(data)
    assert handler.feed(pieces[-1]) == data


@pytest.mark.parametrize(("name", "data"), [("frames", frame(b"f" * 65_000)), ("lines", b"l" * 65_000 + b"\n")])
def test_a_long_message_may_come_byte_by_byte(name, data):
    """All of it is gathered in one object: a new one for each byte would cost the square of the length."""
    handler = make(name)
    assert handler.feed(data[:1]) == b""
    held = handler._held
    for place in range(1, len(data) - 1):
        assert handler.feed(data[place : place + 1]) == b""
    assert handler._held is held
    assert handler.feed(data[-1:]) == data


@pytest.mark.parametrize(("name", "option"), [("frames", "max_frame"), ("lines", "max_line")])
@pytest.mark.parametrize("value", ["0B", "2GiB", "64", "64k", "", "-1B", 0, -1, True, 1.5])
def test_what_is_no_size_is_refused(name, option, value):
    problem = f"{option} = {value!r}: must be a size such as 64KiB or 16MiB, from 1B to 1GiB"
    assert str(refusal(name, **{option: value})).endswith(problem)


def test_a_size_is_read_with_its_unit():
    data = frame(b"f" * 3000)
    assert outcome(make("frames", max_frame="3kB"), [data]) == (data, "")
    assert outcome(make("frames", max_frame="2KiB"), [data])[0] == b""
