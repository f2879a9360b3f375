"""Rules that make no sense together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from echoserver.faults.kinds import CUTS
from echoserver.faults.rules import Rule
from echoserver.faults.triggers import Byte, Message, Trigger

MOST_RULES = 100


def check_together(rules: Sequence[Rule]) -> None:
    """Raise `ValueError` if rules make no sense together. The message names them, and what would be right."""
    if len(rules) > MOST_RULES:
        raise ValueError(f"there are {len(rules)} rules; at most {MOST_RULES} are allowed")
    for first, second in combinations(rules, 2):
        _check_pair(first, second)
        _check_order(first, second)
        _check_order(second, first)


def _check_pair(first: Rule, second: Rule) -> None:
    if first == second:
        # The text of a rule is its identity: both would draw the same.
        raise ValueError(
            f"'{first}' is given twice; give it once, with another share or value if it is meant to add up"
        )
    if first.kind == second.kind in ("throttle", "slice") and first.trigger == second.trigger == Trigger():
        raise ValueError(f"'{first}' and '{second}' are both for every connection; keep one, or give one a trigger")
    if _ends_all(first) and _ends_all(second):
        raise ValueError(
            f"'{first}' and '{second}' both come in place of the first reply of every connection; "
            f"keep one, or give one a trigger, such as {second.kind}@10%"
        )


def _check_order(ending: Rule, other: Rule) -> None:
    """Refuse a rule that can't take effect, since another one ends every connection before."""
    if ending.kind == "refuse" and ending.trigger == Trigger():
        raise ValueError(f"'{other}' never happens, since '{ending}' refuses every connection; write refuse@10%")
    if _ends_all(ending) and _comes_later(other):
        raise ValueError(
            f"'{other}' never happens, since '{ending}' ends every connection before; "
            f"write {ending.kind}@10%, or a later place such as {ending.kind}@msg 5"
        )


def _ends_all(rule: Rule) -> bool:
    """Return whether the rule ends every connection at its first reply, or stops it for ever."""
    return rule.kind in CUTS and rule.parameters is None and rule.trigger == Trigger()


def _comes_later(rule: Rule) -> bool:
    place = rule.trigger.place
    return (isinstance(place, Message) and place.number > 1) or (isinstance(place, Byte) and place.offset > 0)
