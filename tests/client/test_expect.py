"""Expectations of a reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.expect import compare, parse_expectation

ALPHABET = st.binary(max_size=40).map(lambda data: bytes(byte % 2 for byte in data))


def naive_offset(one, other):
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(ALPHABET, ALPHABET)
def test_the_first_difference_is_found(expected, reply):
    difference = compare(expected, reply)
    if expected == reply:
        assert difference is None
    else:
        assert f"offset {naive_offset(expected, reply)}" in difference.what


def test_one_wrong_byte_far_out_is_shown_from_both_sides():
    sent = bytes(range(256)) * 8192
    reply = bytearray(sent)
    reply[1_000_003] ^= 0xFF
    difference = compare(sent, bytes(reply))
    assert difference.what == "the reply differs at offset 1000003"
    assert difference.evidence == (
        "  expected  000f4240  40 41 42 43 44 45 46 47  48 49 4a 4b 4c 4d 4e 4f  |@ABCDEFGHIJKLMNO|",
        "  received  000f4240  40 41 42 bc 44 45 46 47  48 49 4a 4b 4c 4d 4e 4f  |@AB.DEFGHIJKLMNO|",
    )


@pytest.mark.parametrize(
    ("expected", "reply", "corrupt_at", "cut_at"),
    [
        (b"hello", b"heLlo", 2, None),
        (b"hello", b"HELlO", None, None),  # most of it differs, so it is another text
        (b"ab", b"aB", None, None),
        (b"hello", b"hel", None, 3),
        (b"hello", b"", None, 0),
        (b"hello", b"heL", None, None),
        (b"hello", b"hello!", None, None),
    ],
)
def test_a_reply_that_is_corrupt_or_cut_is_told_from_another(expected, reply, corrupt_at, cut_at):
    difference = compare(expected, reply)
    assert (difference.corrupt_at, difference.cut_at) == (corrupt_at, cut_at)


def test_too_little_and_too_much_are_told_apart():
    short, long = compare(b"hello", b""), compare(b"", b"hello")
    assert short.what == "the reply ends at offset 0, 5 bytes too early"
    assert short.evidence[1] == "  received  00000000  nothing"
    assert long.what == "the reply has 5 bytes too many, from offset 0"


@pytest.mark.parametrize(
    ("expectation", "sent", "reply", "met"),
    [
        ("echo", b"a", b"a", True),
        ("echo", b"a", b"A", False),
        ("upper", b"\xe4a", b"\xe4A", True),
        ("upper", b"a", b"a", False),
        ("none", b"a", b"", True),
        ("regex:^HTTP/1.[01] 200", b"", b"HTTP/1.1 200 OK", True),
        ("regex:^HTTP/1.[01] 200", b"", b"HTTP/1.1 404", False),
        ("regex:a:b", b"", b"xa:by", True),
        ("regex:ä", b"", "ä".encode(), True),
        ("regex:", b"", b"", True),
    ],
)
def test_each_kind(expectation, sent, reply, met):
    assert (parse_expectation(expectation)(sent, reply) is None) is met


@pytest.mark.parametrize("text", ["", "Echo", "echo:", "regex", "regex:(", "none:x"])
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError, match=r"is not an expectation|is not a regular expression"):
        parse_expectation(text)
