"""Text from outside, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text on one line, its control characters escaped, as `repr` escapes them."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
