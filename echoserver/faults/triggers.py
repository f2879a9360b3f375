"""Triggers: which connections and replies a rule is for, from which byte on, and when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """A share, exact: so many of 10 ** 8 parts. `str` gives percent, such as `0.1%`."""

    parts: int


@dataclass(frozen=True, slots=True)
class Every:
    """Every `nth` connection: those whose number it divides."""

    nth: int


@dataclass(frozen=True, slots=True)
class MessageShare:
    """A share of the replies of a connection."""

    share: Share


@dataclass(frozen=True, slots=True)
class Message:
    """One reply, by its number from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Byte:
    """The byte that the server sends at this offset, from 0."""

    offset: int


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the connection's life, in seconds of its age; `end` may be `math.inf`."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a rule takes effect: all that is given must hold. `str` gives the text, empty if nothing is given."""

    connections: Share | Every | None = None
    place: MessageShare | Message | Byte | None = None
    span: Span | None = None


def parse_trigger(text: str) -> Trigger:
    """Return the trigger that a text such as `10%,msg 5` stands for.

    Raises
    ------
    ValueError
        The text has another form. The message says what would be right.

    """
    raise NotImplementedError
