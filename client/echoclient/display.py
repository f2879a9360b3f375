"""Received bytes made safe for a terminal: nothing shown can move the cursor or set a colour."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROW = 16
# A longer line is shown in parts, so that a server that never sends a newline can't fill the memory.
_LONGEST_LINE = 64 * 1024


class View(Protocol):
    """Turns the stream of received bytes, split anywhere, into whole lines."""

    @property
    def holds_back(self) -> bool:
        """Whether the beginning of a line is held back until its end arrives."""

    def feed(self, data: bytes) -> str:
        """Take received bytes and return the lines they complete, each with its newline."""

    def flush(self) -> str:
        """Return what was held back, as a marked line of its own."""


class TextView:
    """UTF-8 text; invalid bytes, and characters that affect a terminal, are escaped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._line = ""

    @property
    def holds_back(self) -> bool:
        """Whether the beginning of a line or of a character is held back until its end arrives."""
        return bool(self._line or self._decoder.getstate()[0])

    def feed(self, data: bytes) -> str:
        """Return the lines that ``data`` completes."""
        head, newline, tail = (self._line + self._decoder.decode(data)).rpartition("\n")
        lines = escape(head) + newline
        self._line = tail
        if len(tail) > _LONGEST_LINE:
            self._line = ""
            return f"{lines}{escape(tail)} [line continues]\n"
        return lines

    def flush(self) -> str:
        """Return the beginning of a line, marked as lacking its newline."""
        line, self._line = self._line + self._decoder.decode(b"", final=True), ""
        return f"{escape(line)} [no newline]\n"


class HexView:
    """Offset, sixteen bytes in hexadecimal, and the same as ASCII, as ``hexdump -C`` prints them."""

    holds_back = False

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset

    def feed(self, data: bytes) -> str:
        """Return the dump of ``data``, beginning on a new line."""
        lines = "".join(f"{line}\n" for line in hex_lines(data, self._offset))
        self._offset += len(data)
        return lines

    def flush(self) -> str:
        """Return nothing, because nothing is held back."""
        return ""


def escape(text: str) -> str:
    """Return ``text`` with each character that is not printable, a newline or a tab as a backslash escape.

    That covers control characters, and with them escape sequences, as well as invisible characters that change the
    direction of text or hide it (Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs except the space).
    """
    return "\n".join(line if line.isprintable() else "".join(map(_escape_one, line)) for line in text.split("\n"))


def _escape_one(char: str) -> str:
    return char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode("ascii")


def hex_lines(data: bytes, offset: int = 0) -> Iterator[str]:
    """Yield the lines of the dump of ``data``, whose first byte is at ``offset`` in its stream."""
    for start in range(0, len(data), _ROW):
        row = data[start : start + _ROW]
        left, right = row[: _ROW // 2].hex(" "), row[_ROW // 2 :].hex(" ")
        ascii_side = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{offset + start:08x}  {left:<23}  {right:<23}  |{ascii_side}|"


def format_bytes(count: int) -> str:
    """Format a number of bytes in at most eight characters, with decimal prefixes."""
    if count < 1000:
        return f"{count} B"
    value, units = count / 1000, iter(("kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while value >= 999.95 and (larger := next(units, None)):
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


def format_milliseconds(seconds: float) -> str:
    """Format a short time as ping(8) does: in milliseconds, with three significant digits."""
    milliseconds = seconds * 1000
    digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
    return f"{milliseconds:.{digits}f} ms"
