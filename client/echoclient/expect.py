"""What a reply ought to be, and where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from echoclient.display import hex_lines

_ROW = 16


@dataclass(frozen=True)
class Difference:
    """Why a reply is not the expected one: ``what`` in one line, ``evidence`` in as many as it takes."""

    what: str
    evidence: tuple[str, ...] = ()


# Takes what was sent and what came back.
Expectation = Callable[[bytes, bytes], Difference | None]


def parse_expectation(text: str) -> Expectation:
    """Read ``echo``, ``upper``, ``none`` or ``regex:PATTERN``.

    ``upper`` is ASCII, as bytes.upper() has it. The pattern is one of Python's `re`, found anywhere in the
    reply.

    Raises:
        ValueError: with one line that says what would be right.
    """
    kind, colon, pattern = text.partition(":")
    if kind == "regex" and colon:
        try:
            compiled = re.compile(pattern.encode("utf-8", "surrogateescape"))
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return lambda _, reply: (
            None if compiled.search(reply) else Difference(f"nothing in the reply matches {pattern}")
        )
    known: dict[str, Expectation] = {
        "echo": compare,
        "upper": lambda sent, reply: compare(sent.upper(), reply),
        "none": lambda _, __: None,
    }
    if text not in known:
        raise ValueError(f"{text!r} is not an expectation: write echo, upper, none or regex:PATTERN")
    return known[text]


def compare(expected: bytes, reply: bytes) -> Difference | None:
    """Find the first byte that differs, or is missing on one side, and show sixteen around it of both."""
    if expected == reply:
        return None
    offset = _common_prefix(expected, reply)
    if offset == len(reply):
        what = f"the reply ends at offset {offset}, {len(expected) - offset} bytes short"
    elif offset == len(expected):
        what = f"the reply goes on after its end at offset {offset} with {len(reply) - offset} bytes more"
    else:
        what = f"the reply differs at offset {offset}"
    return Difference(what, (_row("expected", expected, offset), _row("received", reply, offset)))


def _common_prefix(one: bytes, other: bytes) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:  # each step compares with memcmp, a thousand times faster than a loop over the bytes
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _row(side: str, data: bytes, offset: int) -> str:
    start = offset - offset % _ROW
    row = next(hex_lines(data[start : start + _ROW], start), f"{start:08x}  nothing")
    return f"  {side}  {row}"
