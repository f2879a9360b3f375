"""A rule: a kind of fault, its parameters, and its trigger."""

from __future__ import annotations

from dataclasses import dataclass

from echoserver.faults.parameters import Parameters
from echoserver.faults.triggers import Trigger


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, written `KIND[=PARAMETERS][@TRIGGER]`. `str` gives the text that `parse_rule` reads."""

    kind: str
    parameters: Parameters | None
    """`None` for a kind without any, and for a `stall` for ever."""
    trigger: Trigger


def parse_rule(text: str) -> Rule:
    """Return the rule that a text such as `delay=50ms@10%` stands for.

    Raises
    ------
    ValueError
        The text is no rule, or the rule makes no sense. The message names the rule, what is wrong and what would be
        right, on one line.

    """
    raise NotImplementedError
