"""The bytes, and how a wrong one is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.pattern import CHUNK, PERIOD, Pattern, Sizes

ECHO, UPPER = Pattern("echo", 1), Pattern("upper", 1)


def bytes_at(pattern: Pattern, position: int, count: int) -> bytes:
    """The definition, byte by byte."""
    return bytes(pattern.sent[(position + index) % PERIOD] for index in range(count))


@given(position=st.integers(0, 1 << 50), count=st.integers(0, 300))
def test_a_slice_of_the_pattern_is_what_the_definition_says(position, count):
    start = position % PERIOD
    assert ECHO.sent[start : start + count] == bytes_at(ECHO, position, count)


def test_the_longest_piece_never_runs_off_the_tape():
    assert len(ECHO.sent) == PERIOD + CHUNK
    assert ECHO.sent[PERIOD:] == (ECHO.sent[:PERIOD] * 5)[:CHUNK]


def test_all_byte_values_are_sent_and_an_echo_is_the_tape_itself():
    assert set(ECHO.sent) == set(range(256))
    assert ECHO.awaited is ECHO.sent


def test_upper_case_letters_go_up_and_the_rest_stays():
    assert UPPER.awaited == UPPER.sent.upper()
    assert UPPER.sent.isascii()
    assert UPPER.sent.isprintable() if isinstance(UPPER.sent, str) else UPPER.sent.decode().isprintable()
    assert any(97 <= byte <= 122 for byte in UPPER.sent)
    assert any(48 <= byte <= 57 for byte in UPPER.sent)


def test_the_seed_decides_the_bytes():
    assert Pattern("echo", 7).sent == Pattern("echo", 7).sent
    assert Pattern("echo", 7).sent != Pattern("echo", 8).sent


def test_no_two_connections_start_at_the_same_place():
    assert len({Pattern.start(number) for number in range(60_000)}) == 60_000


@given(
    position=st.integers(0, 1 << 40),
    data=st.data(),
    count=st.integers(1, 200),
    expect=st.sampled_from([ECHO, UPPER]),
)
def test_the_first_wrong_byte_is_found(position, data, count, expect):
    right = bytes(expect.awaited[(position + index) % PERIOD] for index in range(count))
    assert expect.difference(right, position) is None
    wrong = data.draw(st.integers(0, count - 1))
    later = data.draw(st.integers(wrong, count - 1))
    damaged = bytearray(right)
    for index in {wrong, later}:
        damaged[index] ^= 0x55
    assert expect.difference(bytes(damaged), position) == wrong


@pytest.mark.parametrize("shift", [1, 64, 4096, 65536, PERIOD - 1])
def test_a_shifted_reply_is_wrong(shift):
    assert ECHO.difference(bytes_at(ECHO, shift, 64), 0) is not None


def test_sizes_stay_in_their_range_reach_its_ends_and_depend_on_connection_and_turn():
    sizes = Sizes(1, 9, 3)
    drawn = [[sizes.of(number, turn) for turn in range(200)] for number in range(3)]
    assert {size for row in drawn for size in row} == set(range(1, 10))
    assert drawn[0] != drawn[1] != drawn[2]
    again = Sizes(1, 9, 3)
    assert drawn[2] == [again.of(2, turn) for turn in range(200)]


def test_one_size_is_always_the_same():
    assert {Sizes(64, 64, 1).of(number, turn) for number in range(9) for turn in range(9)} == {64}
