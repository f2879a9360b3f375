"""Rules in words."""

from __future__ import annotations

import math
from typing import cast

from echoserver.faults.delays import Delays, Fixed, Normal, Pareto, Uniform, Weighted
from echoserver.faults.effects import spoken
from echoserver.faults.kinds import CUTS
from echoserver.faults.parameters import Corrupted, Pieces, Stalled, Throttled
from echoserver.faults.quantities import PARTS, Share, show_decimal, show_size
from echoserver.faults.rules import Rule
from echoserver.faults.triggers import Byte, Every, Message, MessageShare, Span


def sentence(rule: Rule) -> str:
    """Return what a rule does, as one sentence."""
    what = _what(rule) + (_cut_place(rule) if rule.kind in CUTS else "")
    span = rule.trigger.span
    timed = rule.kind in CUTS and rule.trigger.place is None
    condition = f", while the connection is {ages(span)} old" if span is not None and not timed else ""
    return f"{_who(rule)}: {what}{condition}."


def _who(rule: Rule) -> str:
    match rule.trigger.connections:
        case Share() as share:
            return f"{share} of connections"
        case Every(nth):
            return f"Every {_ordinal(nth)} connection"
    return "Every connection"


def _what(rule: Rule) -> str:
    parameters = rule.parameters
    match rule.kind:
        case "delay":
            return f"{_subject(rule, 'waits')} {_delay(cast('Delays', parameters))}"
        case "throttle":
            return f"{_subject(rule, 'is')} sent at {cast('Throttled', parameters)} at most"
        case "slice":
            return f"{_subject(rule, 'is')} sent in {_pieces(cast('Pieces', parameters))}"
        case "drop":
            return f"{_subject(rule, 'is')} never sent"
        case "duplicate":
            return f"{_subject(rule, 'is')} sent twice"
        case "corrupt":
            return _corruption(rule)
        case "refuse":
            return "the server closes the connection when it accepts it"
        case "stall":
            return f"nothing is taken or sent {_stall(rule)}"
        case "reset":
            return "the connection is reset (the peer gets an RST)"
        case "close":
            return "the server ends the connection in the orderly way"
    return "the server ends its own side of the connection and goes on receiving"


def _subject(rule: Rule, verb: str) -> str:
    """Return which bytes a rule is for, with a verb in the singular or the plural."""
    match rule.trigger.place:
        case MessageShare(share):
            return f"{share} of replies {({'is': 'are', 'waits': 'wait'})[verb]}"
        case Message(number):
            return f"reply {number} {verb}"
        case Byte(offset):
            what = "byte" if rule.kind == "delay" else "what follows byte"
            return f"{what} {offset} {verb}"
    return f"each reply {verb}"


def _delay(delays: Delays) -> str:
    match delays:
        case Fixed(seconds):
            return spoken(seconds)
        case Weighted(choices):
            parts = [f"{spoken(seconds)} in {show_decimal(weight, 6)}% of cases" for seconds, weight in choices]
            rest = PARTS - sum(weight for _, weight in choices)
            return ", ".join(parts) + (f", and not at all in {show_decimal(rest, 6)}%" if rest else "")
        case Uniform(lowest, highest):
            return f"{spoken(lowest)} to {spoken(highest)}, all as likely"
        case Normal(mean, deviation):
            return f"{spoken(mean)} on average, with a standard deviation of {spoken(deviation)}, and never less than 0"
        case Pareto(least, shape):
            return f"{spoken(least)} or longer, as the Pareto distribution with shape {show_decimal(shape, 3)} has it"


def _pieces(pieces: Pieces) -> str:
    sizes = show_size(pieces.smallest)
    if pieces.largest != pieces.smallest:
        sizes += f" to {show_size(pieces.largest)}"
    unit = "" if sizes.endswith("B") else " bytes"
    return f"pieces of {sizes}{unit}" + (f", {spoken(pieces.gap)} apart" if pieces.gap else "")


def _stall(rule: Rule) -> str:
    if isinstance(rule.parameters, Stalled):
        return f"for {spoken(rule.parameters.seconds)}"
    span = rule.trigger.span
    if span is not None and rule.trigger.place is None and span.end < math.inf:
        return f"for {spoken(span.end - span.start)}"
    return "any more"


def _corruption(rule: Rule) -> str:
    place = rule.trigger.place
    if isinstance(rule.parameters, Corrupted):
        match place:
            case MessageShare(share):
                where = f"of {share} of replies"
            case Message(number):
                where = f"of reply {number}"
            case Byte(offset):
                where = f"from byte {offset} on"
            case _:
                where = "of each reply"
        return f"{rule.parameters} of the bytes {where} are changed"
    match place:
        case MessageShare(share):
            return f"one byte is changed in {share} of replies"
        case Message(number):
            return f"one byte of reply {number} is changed"
    return f"byte {cast('Byte', place).offset} is changed"


def _cut_place(rule: Rule) -> str:
    before = "before" if rule.kind == "stall" else "in place of"
    match rule.trigger.place:
        case MessageShare(share):
            return f", {before} one of the replies, each with a chance of {share}"
        case Message(number):
            return f", {before} reply {number}"
        case Byte(offset):
            return f", after {offset} bytes of replies"
    span = rule.trigger.span
    if span is None:
        return f", {before} the first reply"
    if span.end == math.inf or rule.kind == "stall":
        return f", {'from' if rule.kind == 'stall' else 'at'} an age of {spoken(span.start)}"
    return f", at an age that is drawn between {spoken(span.start)} and {spoken(span.end)}"


def ages(span: Span) -> str:
    """Return a span in words."""
    if span.end == math.inf:
        return f"at least {spoken(span.start)}"
    return f"{spoken(span.start)} to {spoken(span.end)}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
