"""Triggers: which connections and replies a rule is for, from which byte on, and when."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from echoserver.clock import format_duration
from echoserver.errors import shown
from echoserver.faults.quantities import SIZE, Share, read_duration, read_size, show_size

MOST_NUMBER = 10**12
TRIGGERS = "10%, #100, 1%/msg, msg 5, byte 1000, 1s..5s or after 2s, joined by commas"
_NUMBER = re.compile(r"[1-9]\d{0,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Every:
    """Every `nth` connection: those whose number it divides."""

    nth: int

    def __str__(self) -> str:
        return f"#{self.nth}"


@dataclass(frozen=True, slots=True)
class MessageShare:
    """A share of the replies of a connection."""

    share: Share

    def __str__(self) -> str:
        return f"{self.share}/msg"


@dataclass(frozen=True, slots=True)
class Message:
    """One reply, by its number from 1."""

    number: int

    def __str__(self) -> str:
        return f"msg {self.number}"


@dataclass(frozen=True, slots=True)
class Byte:
    """A place in the stream that the server sends: so many bytes come before it."""

    offset: int

    def __str__(self) -> str:
        return f"byte {show_size(self.offset)}"


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the connection's life, in seconds of its age; `end` may be `math.inf` and isn't in the span."""

    start: float
    end: float

    def __contains__(self, age: float) -> bool:
        return self.start <= age < self.end

    def __str__(self) -> str:
        if self.end == math.inf:
            return f"after {format_duration(self.start)}"
        return f"{format_duration(self.start)}..{format_duration(self.end)}"


Condition = Share | Every | MessageShare | Message | Byte | Span


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a rule takes effect: all that is given must hold. `str` gives the text, empty if nothing is given."""

    connections: Share | Every | None = None
    place: MessageShare | Message | Byte | None = None
    span: Span | None = None

    def __str__(self) -> str:
        return ",".join(str(part) for part in (self.connections, self.place, self.span) if part is not None)


def parse_trigger(text: str) -> Trigger:
    """Return the trigger that a text such as `10%,msg 5` stands for.

    Raises
    ------
    ValueError
        The text has another form, or two of its parts say the same. The message says what would be right.

    """
    connections: Share | Every | None = None
    place: MessageShare | Message | Byte | None = None
    span: Span | None = None
    for part in text.split(","):
        earlier: Condition | None
        match condition := _parse_condition(part.strip()):
            case Share() | Every():
                earlier, connections = connections, condition
            case Span():
                earlier, span = span, condition
            case _:
                earlier, place = place, condition
        if earlier is not None:
            raise ValueError(f"{earlier} and {condition} can't be combined; give one of them")
    return Trigger(connections, place, span)


def _parse_condition(text: str) -> Condition:
    if text.endswith("%"):
        return Share.parse(text)
    if text.endswith("/msg"):
        return MessageShare(Share.parse(text.removesuffix("/msg")))
    if text.startswith("#"):
        return Every(_number(text.removeprefix("#"), "every nth connection, such as #100"))
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if word == "msg":
        return Message(_number(rest, "the number of a reply, from 1, such as msg 5"))
    if word == "byte":
        return Byte(_offset(rest))
    if word == "after":
        return Span(read_duration(rest), math.inf)
    start, dots, end = text.partition("..")
    if dots:
        span = Span(read_duration(start), read_duration(end))
        if span.end < span.start:
            raise ValueError(f"the span {shown(text)} ends before it begins; write {shown(f'{end}..{start}')}")
        if span.end == span.start:
            raise ValueError(f"the span {shown(text)} is empty; write {shown(f'after {start}')}")
        return span
    raise ValueError(f"there is no trigger {shown(text)}; a trigger is {TRIGGERS}")


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > MOST_NUMBER:
        raise ValueError(f"{shown(text)} must be {what}, at most 10^12")
    return int(text)


def _offset(text: str) -> int:
    if not text:
        raise ValueError(f"byte must be followed by {SIZE}")
    return read_size(text)
