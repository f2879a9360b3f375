"""Errors: whatever a message contains, the user sees one printable line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.errors import BindError, ConfigError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, bücher 日本", "plain text, bücher 日本"),
        ("bell \a", r"bell \x07"),
        ("csi \x9b2J", r"csi \x9b2J"),
        ("\x1b[31m", r"\x1b[31m"),
        ("two\nlines\r\tand a tab", r"two\nlines\r\tand a tab"),
        ("line separator \u2028", r"line separator \u2028"),
        ("right to left \u202e", r"right to left \u202e"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_what_is_not_printable_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_every_text_becomes_one_printable_line(text):
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    "error",
    [BindError("\a"), ConfigError("\x9b"), ConfigError("no", key="\a"), ConfigError("no", origin="/tmp/\x1b[2J")],
)
def test_every_error_is_printable(error):
    assert str(error).isprintable()
    assert "\\x" in str(error)


def test_the_problem_alone_is_printable_too():
    assert ConfigError("no\a").problem == r"no\x07"
