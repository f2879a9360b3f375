"""What a server sends is shown, and can't affect the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.display import HexView, TextView, escape, format_bytes, format_milliseconds, hex_lines


def shown(view, pieces):
    return "".join(view.feed(piece) for piece in pieces) + (view.flush() if view.holds_back else "")


@given(st.lists(st.binary()))
def test_nothing_that_comes_can_move_the_cursor(pieces):
    text = shown(TextView(), pieces)
    assert all(char.isprintable() or char in "\n\t" for char in text)


@given(st.text())
def test_escaping_leaves_only_what_can_be_printed(text):
    assert all(char.isprintable() or char in "\n\t" for char in escape(text))


@given(st.text() | st.binary(), st.data())
def test_splits_by_the_network_make_no_difference(content, data):
    stream = content.encode() if isinstance(content, str) else content
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert shown(TextView(), pieces) == shown(TextView(), [stream])


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"hello\n", "hello\n"),
        ("größe ☃\n".encode(), "größe ☃\n"),
        (b"\x1b[2J\x1b]0;owned\x07\n", "\\x1b[2J\\x1b]0;owned\\x07\n"),
        (b"a\rb\x00\x7f\n", "a\\rb\\x00\\x7f\n"),
        (b"\x9b2J\n", "\\x9b2J\n"),
        ("\x9b2J\n".encode(), "\\x9b2J\n"),
        ("abc\u202etxt\u2028\n".encode(), "abc\\u202etxt\\u2028\n"),
        (b"\xff\xfe\n", "\\xff\\xfe\n"),
        (b"a\tb\n", "a\tb\n"),
        (b"no end", "no end [no newline]\n"),
        ("half a snowman ☃".encode()[:-1], "half a snowman \\xe2\\x98 [no newline]\n"),
    ],
)
def test_text(stream, text):
    assert shown(TextView(), [stream]) == text


def test_a_line_is_held_back_until_it_is_whole():
    view = TextView()
    assert view.feed(b"one\ntw") == "one\n"
    assert view.holds_back
    assert view.feed(b"o\n") == "two\n"
    assert not view.holds_back


def test_a_line_without_an_end_is_shown_in_parts_of_bounded_size():
    view = TextView()
    parts = [view.feed(b"x" * 50_000) for _ in range(4)]
    assert parts == ["", "x" * 100_000 + " [line continues]\n"] * 2


def test_hex_is_laid_out_as_hexdump_does():
    assert list(hex_lines(b"0123456789abcdef\x00\n", 32)) == [
        "00000020  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "00000030  00 0a                                             |..|",
    ]


@given(st.lists(st.binary(min_size=1, max_size=40)))
def test_hex_says_every_byte_at_its_offset(pieces):
    seen = {}
    for line in shown(HexView(), pieces).splitlines():
        offset = int(line[:8], 16)
        seen |= dict(enumerate(bytes.fromhex(line[10:58]), offset))
    assert seen == dict(enumerate(b"".join(pieces)))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_940, "999.9 kB"), (999_960, "1.0 MB"), (10**18, "1000.0 PB")],
)
def test_byte_counts(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0000213, "0.021 ms"), (0.00123, "1.23 ms"), (0.0123, "12.3 ms"), (1.5, "1500 ms")]
)
def test_times(seconds, text):
    assert format_milliseconds(seconds) == text
