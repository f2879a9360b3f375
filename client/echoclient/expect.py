"""The expected reply, and where the actual one differs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from echoclient.display import hex_lines

_ROW = 16


@dataclass(frozen=True)
class Difference:
    """How a reply differs from the expected one.

    Attributes:
        what: it, in one line.
        evidence: the bytes of both, in several lines.
        offset: the first byte that differs or is missing on one side.
        corrupt_at: the first wrong byte, if the length and most of the bytes are right; otherwise the reply is another.
        cut_at: the length of the reply, if it is the beginning of the expected one.
    """

    what: str
    evidence: tuple[str, ...] = ()
    offset: int = 0
    corrupt_at: int | None = None
    cut_at: int | None = None


# Called with what was sent and what was received.
Expectation = Callable[[bytes, bytes], Difference | None]


def parse_expectation(text: str) -> Expectation:
    """Read ``echo``, ``upper``, ``none`` or ``regex:PATTERN``.

    ``upper`` changes ASCII letters only, as bytes.upper() does. The pattern has the syntax of Python's `re`, and may
    match anywhere in the reply.

    Raises:
        ValueError: the text is none of these; the message says what would be right.
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
    """Find the first byte that differs or is missing on one side, and show the sixteen bytes around it from both."""
    if expected == reply:
        return None
    offset = _common_prefix(expected, reply)
    corrupt_at = cut_at = None
    if offset == len(reply):
        what = f"the reply ends at offset {offset}, {len(expected) - offset} bytes too early"
        cut_at = offset
    elif offset == len(expected):
        what = f"the reply has {len(reply) - offset} bytes too many, from offset {offset}"
    else:
        what = f"the reply differs at offset {offset}"
        if len(expected) == len(reply) and 2 * sum(map(operator.ne, expected, reply)) < len(reply):
            corrupt_at = offset
    evidence = (_row("expected", expected, offset), _row("received", reply, offset))
    return Difference(what, evidence, offset, corrupt_at, cut_at)


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
