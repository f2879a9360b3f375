"""A rule bound to its place in a plan, with its draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from echoserver.faults.delays import Delays
from echoserver.faults.draws import Draws, Purpose
from echoserver.faults.effects import (
    Close,
    Corrupt,
    CorruptShare,
    Cut,
    Delay,
    Drop,
    Duplicate,
    Effect,
    HalfClose,
    Reset,
    Slice,
    Stall,
    Throttle,
)
from echoserver.faults.kinds import CUTS
from echoserver.faults.parameters import Corrupted, Pieces, Stalled, Throttled
from echoserver.faults.places import CorruptedBytes, PieceSizes
from echoserver.faults.quantities import Share, below
from echoserver.faults.rules import Rule
from echoserver.faults.triggers import Byte, Every, Message, MessageShare

_MICROS = 10**6
_ENDINGS = {"reset": Reset, "close": Close, "halfclose": HalfClose}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, and where it stands in the connection."""

    index: int
    """Its number, from 0."""
    offset: int
    """How many bytes were sent before it."""
    length: int
    """Its length in bytes, without copies."""
    end: int
    """How many bytes have been sent after it and its copies."""
    age: float
    """How many seconds old the connection is."""


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule of a plan, with all that its draws depend on but the connection's number."""

    index: int
    rule: Rule
    draws: Draws

    def concerns(self, connection: int) -> bool:
        """Return whether the rule is for the connection with this number."""
        match self.rule.trigger.connections:
            case Share() as share:
                return share.has(self.draws.word(connection, Purpose.CONNECTION))
            case Every(nth):
                return connection % nth == 0
        return True

    def hits(self, connection: int, index: int, age: float) -> bool:
        """Return whether the rule is for the reply with this number from 0, or for bytes of it."""
        trigger = self.rule.trigger
        if trigger.span is not None and age not in trigger.span:
            return False
        match trigger.place:
            case MessageShare(share):
                return share.has(self.draws.word(connection, Purpose.MESSAGE, index))
            case Message(number):
                return index + 1 == number
            case Byte():
                return True
        # A cut happens once: by itself in a span, or else in place of the first reply.
        return self.rule.kind not in CUTS or (trigger.span is None and index == 0)

    def effect(self, connection: int, reply: Reply) -> Effect | None:
        """Return what happens to a reply for which the rule is; `None` if nothing does after all."""
        if self.rule.kind in CUTS:
            return self._cut_at(reply)
        at = reply.offset
        if isinstance(self.rule.trigger.place, Byte):
            place = self.rule.trigger.place.offset
            once = self.rule.kind == "delay" or (self.rule.kind == "corrupt" and self.rule.parameters is None)
            if place >= reply.end or (once and place < at):
                return None
            at = max(at, place)
        return self._change(connection, reply, at)

    def _change(self, connection: int, reply: Reply, at: int) -> Effect | None:
        index, parameters, number = self.index, self.rule.parameters, reply.index + 1
        match self.rule.kind:
            case "throttle":
                return Throttle(index, at, cast("Throttled", parameters).rate.count)
            case "slice":
                pieces = cast("Pieces", parameters)
                return Slice(index, at, pieces.gap, number, PieceSizes(pieces, self.draws, connection))
            case "drop":
                return Drop(index, number)
            case "duplicate":
                return Duplicate(index, number)
            case "corrupt":
                return self._corruption(connection, reply, at)
        inside = isinstance(self.rule.trigger.place, Byte)
        words = self.draws.words(connection, Purpose.VALUE, 0 if inside else reply.index)
        seconds = cast("Delays", parameters).sample(words)
        return Delay(index, seconds, at, None if inside else number) if seconds else None

    def _corruption(self, connection: int, reply: Reply, at: int) -> Effect:
        if isinstance(self.rule.parameters, Corrupted):
            return CorruptShare(self.index, at, CorruptedBytes(self.rule.parameters.share, self.draws, connection))
        # A byte is changed in the same way whichever reply it is in.
        inside = isinstance(self.rule.trigger.place, Byte)
        words = self.draws.words(connection, Purpose.PLACE, 0 if inside else reply.index)
        mask = 1 + below(255, next(words))
        return Corrupt(self.index, at if inside else at + below(reply.length, next(words)), mask)

    def _cut_at(self, reply: Reply) -> Cut | None:
        if not isinstance(self.rule.trigger.place, Byte):
            return self._cut(reply=reply.index + 1)
        place = self.rule.trigger.place.offset
        # It comes as soon as so many bytes have been sent, and doesn't wait for the next reply.
        here = reply.offset < place <= reply.end if place else reply.index == 0
        return self._cut(at=place) if here else None

    def moment(self, connection: int) -> float | None:
        """Return the age at which the rule cuts the connection by itself; `None` if it never does."""
        span = self.rule.trigger.span
        if self.rule.kind not in CUTS or span is None or self.rule.trigger.place is not None:
            return None
        if span.end == math.inf or self.rule.kind == "stall":
            return span.start
        start, end = round(span.start * _MICROS), round(span.end * _MICROS)
        return (start + below(end - start, self.draws.word(connection, Purpose.MOMENT))) / _MICROS

    def cut_at_moment(self, age: float) -> Cut:
        """Return what happens at the moment, which is `age`."""
        return self._cut(age=age)

    def _cut(self, at: int | None = None, reply: int | None = None, age: float | None = None) -> Cut:
        if self.rule.kind == "stall":
            return Stall(self.index, at, reply, age, self._stall_seconds(at is None and reply is None))
        return _ENDINGS[self.rule.kind](self.index, at, reply, age)

    def _stall_seconds(self, by_itself: bool) -> float:
        if self.rule.parameters is not None:
            return cast("Stalled", self.rule.parameters).seconds
        span = self.rule.trigger.span
        return span.end - span.start if by_itself and span is not None else math.inf
