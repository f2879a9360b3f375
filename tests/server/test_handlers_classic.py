"""The handlers of the old RFCs, without a server: discard, chargen, daytime."""

from __future__ import annotations

from itertools import islice

import pytest

from echoserver.handlers import Last
from echoserver.handlers.daytime import line_at
from server.handler_kit import make, pattern, refusal, say


def test_discard_says_nothing():
    assert say(make("discard"), b"hello", b"\0" * 100_000) == b""


def test_the_first_lines_of_chargen_are_those_of_the_rfc():
    first, second, *_ = b"".join(make("chargen", lines=2).greet()).split(b"\r\n")
    assert first == rb""" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"""
    assert second == rb"""!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"""


@pytest.mark.parametrize("count", [1, 94, 95, 96, 759, 760, 761, 2000])
def test_chargen_sends_as_many_lines_as_asked_and_ends(count):
    pieces = list(make("chargen", lines=count).greet())
    assert b"".join(pieces) == pattern(count)
    assert [type(piece) for piece in pieces] == [*[bytes] * (len(pieces) - 1), Last]


def test_chargen_is_endless_and_its_pieces_join():
    pieces = list(islice(make("chargen").greet(), 5))
    assert all(16_384 <= len(piece) <= 65_536 and type(piece) is bytes for piece in pieces)
    assert pattern(5000).startswith(b"".join(pieces))


def test_chargen_makes_no_piece_twice():
    first, second = islice(make("chargen").greet(), 2)
    assert first is second
    assert next(make("chargen").greet()) is first


def test_chargen_answers_nothing():
    chargen = make("chargen")
    assert (chargen.feed(b"stop"), chargen.finish()) == (b"", b"")


@pytest.mark.parametrize("value", [-1, 10**12 + 1, "many", "1.5", "", "٣", True, 1.0])
def test_what_is_no_number_of_lines_is_refused(value):
    problem = f"lines = {value!r}: must be a whole number from 0 to 1000000000000"
    assert str(refusal("chargen", lines=value)).endswith(problem)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, b"Thursday, January 1, 1970 00:00:00-UTC\r\n"),
        (383_247_463.9, b"Monday, February 22, 1982 17:37:43-UTC\r\n"),
        (951_868_799, b"Tuesday, February 29, 2000 23:59:59-UTC\r\n"),
        (4_102_444_799, b"Thursday, December 31, 2099 23:59:59-UTC\r\n"),
    ],
)
def test_daytime_writes_a_time_as_the_rfc_suggests(seconds, expected):
    assert line_at(seconds) == expected


def test_daytime_says_the_time_and_ends(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.5)
    daytime = make("daytime")
    greeting = daytime.greet()
    assert (greeting, type(greeting)) == (line_at(0), Last)
    assert daytime.feed(b"what?") == b""
