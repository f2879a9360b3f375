"""Tickets: one connection's schedule as a short text that can be pasted.

A ticket has the seed, the connection's number, and the text of the rules that concern the connection; a checksum tells
a damaged one. It needs nothing else: what a rule draws doesn't depend on the other rules. The bytes are written in
base 58 (digits and letters without 0, O, I and l, so that a double click selects all of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from echoserver.errors import shown
from echoserver.faults.conflicts import check_together
from echoserver.faults.draws import MOST_SEED
from echoserver.faults.rules import Rule, parse_rule

PREFIX = "F1"
"""The first characters of every ticket. The digit is the version of the format and of the draws."""
_MOST_CHARACTERS = 4096
_MOST_CONNECTION = 2**64 - 1
_CHECK_BYTES = 3
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SEPARATOR = 0
# What one byte stands for, from 1 on. The order is part of the format; more can be added at the end. Each character
# that the text of a rule may have stands here alone, too, so every rule can be written.
_TOKENS = (
    *("delay=", "throttle=", "slice=", "stall=", "stall", "reset", "close", "halfclose", "corrupt=", "corrupt", "drop"),
    *("duplicate", "refuse", "delay=normal(", "delay=uniform(", "delay=pareto(", ")", "ms)", "s)"),
    *("@", "@#", "@byte ", "@msg ", "@after ", "byte ", "msg ", "after ", "%,", "%/msg", ".."),
    *("ms", "ms,", "s,", "ms:", "s:", "ms..", "s..", "kB", "KiB", "MB", "MiB", "GB", "GiB"),
    *("B/s", "kB/s", "KiB/s", "MB/s", "MiB/s", "GB/s", "GiB/s", "000"),
    *"0123456789abcdefghiklmnoprstuy #%(,./:=BGKM",
    *(f"{pair:02}" for pair in range(100)),
)
_BYTES = {token: number for number, token in enumerate(_TOKENS, start=1)}
_LONGEST = max(map(len, _TOKENS))


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says. `str` gives its text."""

    seed: int
    connection: int
    rules: tuple[Rule, ...]

    def __str__(self) -> str:
        rules = bytes([_SEPARATOR]).join(_pack(str(rule)) for rule in self.rules)
        content = _varint(self.seed) + _varint(self.connection) + rules
        return PREFIX + _base58(_check(content) + content)


def is_ticket(text: str) -> bool:
    """Return whether a text looks like a ticket, damaged or not, and not like a rule."""
    return text.startswith(PREFIX[:1])


def read_ticket(text: str) -> Ticket:
    """Return what a ticket says.

    Raises
    ------
    ValueError
        It is none, or it is damaged. The message says so on one line.

    """
    if not text.startswith(PREFIX):
        raise ValueError(f"{shown(text)} is not a ticket: one begins with {PREFIX}, as ticket= in the log shows it")
    try:
        ticket = _read(text.removeprefix(PREFIX))
    except (ValueError, IndexError, OverflowError):
        ticket = None
    if ticket is None or str(ticket) != text:
        raise ValueError(f"{shown(text)} is a damaged ticket: copy it whole and unchanged from the log line")
    return ticket


def _read(text: str) -> Ticket:
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(text)
    content = _bytes_of(text)
    content, check = content[_CHECK_BYTES:], content[:_CHECK_BYTES]
    if check != _check(content):
        raise ValueError(text)
    seed, content = _take_varint(content)
    connection, content = _take_varint(content)
    if seed > MOST_SEED or connection > _MOST_CONNECTION:
        raise ValueError(text)
    packed = content.split(bytes([_SEPARATOR]))
    ticket = Ticket(seed, connection, tuple(parse_rule("".join(_TOKENS[byte - 1] for byte in rule)) for rule in packed))
    check_together(ticket.rules)
    return ticket


def _check(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECK_BYTES, person=b"echoserver/check").digest()


def _pack(text: str) -> bytes:
    """Return the bytes of a text, taking the longest token at each place."""
    packed = bytearray()
    while text:
        length = next(length for length in range(_LONGEST, 0, -1) if text[:length] in _BYTES)
        packed.append(_BYTES[text[:length]])
        text = text[length:]
    return bytes(packed)


def _varint(number: int) -> bytes:
    """Return a number as seven bits a byte, the lowest first, with the high bit on all bytes but the last."""
    packed = bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _take_varint(content: bytes) -> tuple[int, bytes]:
    number = 0
    for place, byte in enumerate(content):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, content[place + 1 :]
    raise ValueError(content)


def _base58(content: bytes) -> str:
    # The first byte keeps zeros at the beginning from being lost.
    number = int.from_bytes(b"\x01" + content, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return text


def _bytes_of(text: str) -> bytes:
    number = 0
    for character in text:
        number = number * 58 + _ALPHABET.index(character)
    content = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return content[1:]
