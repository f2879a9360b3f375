"""A rule: a kind of fault, its parameters, and its trigger."""

from __future__ import annotations

import math
from dataclasses import dataclass

from echoserver.errors import did_you_mean, shown
from echoserver.faults.kinds import KINDS
from echoserver.faults.parameters import Parameters
from echoserver.faults.triggers import TRIGGERS, Byte, Trigger, parse_trigger


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, written `KIND[=PARAMETERS][@TRIGGER]`. `str` gives the text that `parse_rule` reads."""

    kind: str
    parameters: Parameters | None
    """`None` for a kind without any, and for a `stall` for ever or over a span."""
    trigger: Trigger

    def __str__(self) -> str:
        text = self.kind if self.parameters is None else f"{self.kind}={self.parameters}"
        trigger = str(self.trigger)
        return f"{text}@{trigger}" if trigger else text


def parse_rule(text: str) -> Rule:
    """Return the rule that a text such as `delay=50ms@10%` stands for.

    Raises
    ------
    ValueError
        The text is no rule, or the rule makes no sense. The message names the rule, what is wrong and what would be
        right, on one line.

    """
    try:
        rule = _parse(text)
        _check(rule)
    except ValueError as error:
        raise ValueError(f"{shown(text)}: {error}") from None
    return rule


def _parse(text: str) -> Rule:
    head, at, trigger = text.strip().partition("@")
    name, equals, parameters = head.strip().partition("=")
    name = name.strip()
    if name not in KINDS:
        raise ValueError(f"there is no kind of fault {shown(name)}; {did_you_mean(name, KINDS)}")
    kind = KINDS[name]
    read: Parameters | None = None
    if equals:
        if kind.parse is None:
            raise ValueError(f"{name} takes no parameters; a place or a share is a trigger, such as {kind.example}")
        read = kind.parse(parameters.strip())
    elif kind.required:
        raise ValueError(f"{name} needs parameters, such as {kind.example}")
    if at and not trigger.strip():
        raise ValueError(f"a trigger must follow @, such as {TRIGGERS}")
    return Rule(name, read, parse_trigger(trigger) if at else Trigger())


def _check(rule: Rule) -> None:
    """Raise `ValueError` if the trigger makes no sense for the kind."""
    kind, trigger = rule.kind, rule.trigger
    if kind == "refuse" and (trigger.place or trigger.span):
        unfit = trigger.place or trigger.span
        raise ValueError(f"refuse happens at accept, so it can't wait for {unfit}; only 10% or #100 can follow it")
    if kind in ("drop", "duplicate") and isinstance(trigger.place, Byte):
        raise ValueError(f"{kind} is for whole replies, not for {trigger.place}; name one, such as msg 5, or 1%/msg")
    if kind == "corrupt" and rule.parameters is None and trigger.place is None:
        raise ValueError(
            "corrupt needs a place or a share, such as corrupt@byte 1000, corrupt@msg 5, corrupt@1%/msg or corrupt=0.1%"
        )
    spans = trigger.span is not None and trigger.place is None and trigger.span.end < math.inf
    if kind == "stall" and rule.parameters is not None and spans:
        raise ValueError(
            f"the span {trigger.span} says how long the stall is; leave out ={rule.parameters}, or write after ..."
        )
