"""What a rule draws for one connection: the first replies, bytes and ages that it hits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice

from echoserver.faults.bound import BoundRule, Reply
from echoserver.faults.effects import Corrupt, CorruptShare, Delay, Effect, Slice, Stall, spoken
from echoserver.faults.explaining import ages
from echoserver.faults.kinds import ENDINGS
from echoserver.faults.triggers import Byte, Message

_MOST = 5
_MOST_REPLIES = 1000
_MOST_BYTES = 10**7
# How long a reply is taken to be, so that the place of a byte in it is a share of its length.
_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Drawn:
    """One thing that happens. What isn't known, or has no limit, is `None`."""

    text: str
    reply: int | None = None
    """The number of the reply, from 1."""
    at: int | None = None
    """The offset in the stream."""
    age: float | None = None
    """In seconds."""
    seconds: float | None = None
    """How long a delay or a stall is."""


def drawn(bound: BoundRule, connection: int, most: int = _MOST, replies: int = _MOST_REPLIES) -> list[Drawn]:
    """Return the first things that happen because of a rule to a connection for which it is.

    What follows from the rule alone for each reply, such as a limit of the rate, is shown once.

    Parameters
    ----------
    bound:
        The rule.
    connection:
        The number of the connection.
    most:
        How many things to return at most.
    replies:
        How many replies to look at.

    """
    rule = bound.rule
    if rule.kind == "refuse":
        return [Drawn("refuse at accept")]
    if rule.kind in ENDINGS:
        most = 1  # there is no second one
    moment = bound.moment(connection)
    if moment is not None:
        cut = bound.cut_at_moment(moment)
        return [Drawn(str(cut), age=moment, seconds=_seconds(cut))]
    if rule.trigger.span is None:
        return _at_places(bound, connection, 0.0, most, replies)
    found = _at_places(bound, connection, rule.trigger.span.start, most, replies)
    condition = f" if the connection is {ages(rule.trigger.span)} old then"
    return [replace(entry, text=entry.text + condition) for entry in found]


def _at_places(bound: BoundRule, connection: int, age: float, most: int, replies: int) -> list[Drawn]:
    """Return what happens to replies and bytes, each at this age of the connection."""
    rule = bound.rule
    place = rule.trigger.place
    if isinstance(place, Byte):
        length = place.offset + 1
        return _of(bound.effect(connection, Reply(0, 0, length, length, age)), None, most)
    found: list[Drawn] = []
    for index in range(replies) if not isinstance(place, Message) else (place.number - 1,):
        if len(found) >= most:
            break
        if bound.hits(connection, index, age):
            effect = bound.effect(connection, Reply(index, 0, _LENGTH, _LENGTH, age))
            if place is None and rule.kind in ("throttle", "drop", "duplicate"):
                return [Drawn(f"{rule.kind} every reply")]
            found += _of(effect, index + 1, most)
            if isinstance(effect, CorruptShare | Slice) and place is None:
                break
    return found


def _of(effect: Effect | None, reply: int | None, most: int) -> list[Drawn]:
    match effect:
        case None:
            return []
        case CorruptShare():
            if reply is not None and reply > 1:
                return [Drawn(f"corrupt some bytes of reply {reply}", reply)]
            places = islice(effect.within(effect.at, effect.at + _MOST_BYTES), most)
            return [Drawn(_change(corrupt), at=corrupt.at) for corrupt in places]
        case Corrupt():
            if reply is None:
                return [Drawn(_change(effect), at=effect.at)]
            return [Drawn(f"corrupt reply {reply} at {100 * effect.at / _LENGTH:g}% of its length", reply)]
        case Slice():
            sizes = ", ".join(map(str, islice(effect.sizes(), _MOST)))
            return [Drawn(f"slice reply {effect.reply} into pieces of {sizes} ... bytes", reply)]
        case Delay() if reply is not None:
            return [Drawn(f"delay reply {reply} by {spoken(effect.seconds)}", reply, seconds=effect.seconds)]
    at: int | None = getattr(effect, "at", None) if reply is None else None
    text = f"{effect.kind} reply {reply}" if effect.kind == "throttle" and reply else str(effect)
    return [Drawn(text, reply, at, seconds=_seconds(effect))]


def _seconds(effect: Effect) -> float | None:
    if isinstance(effect, Delay | Stall) and effect.seconds < math.inf:
        return effect.seconds
    return None


def _change(corrupt: Corrupt) -> str:
    return f"corrupt at byte {corrupt.at} (exclusive or with {corrupt.mask:#04x})"
