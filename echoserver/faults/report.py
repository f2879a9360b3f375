"""What `echoserver faults explain` says: a table for scripts, and the same in words."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TypedDict

from echoserver.faults.drawn import drawn
from echoserver.faults.explaining import sentence
from echoserver.faults.plan import Plan

CONNECTIONS = 1000
"""How many connections are looked at."""
_FIRST = 8


class RuleReport(TypedDict):
    """One rule."""

    rule: str
    kind: str
    text: str
    """What it does, in a sentence."""
    connections: int | None
    """How many of the first 1000 connections it is for; `None` for a ticket, which is for all."""
    first: list[int]
    """The numbers of the first of them."""
    draws: list[dict[str, object]] | None
    """What the one connection draws; `None` if it isn't for that one, or no connection was asked for."""


class Report(TypedDict):
    """A set of rules, and one connection if it was asked for."""

    seed: int
    connection: int | None
    ticket: str | None
    """That of the connection; `None` if it meets no fault."""
    rules: list[RuleReport]


def report(plan: Plan, connection: int | None) -> Report:
    """Return what a plan does, and what the connection with this number meets if one is given."""
    met: dict[int, list[int]] = {index: [] for index in range(len(plan.rules))}
    if plan.replayed is None:
        for number in range(1, CONNECTIONS + 1):
            schedule = plan.schedule(number)
            for bound in schedule.rules if schedule else ():
                met[bound.index].append(number)
    one = plan.schedule(connection) if connection is not None else None
    draws = {}
    if one is not None:
        draws = {bound.index: [asdict(found) for found in drawn(bound, one.connection)] for bound in one.rules}
    rules = [
        RuleReport(
            rule=str(rule),
            kind=rule.kind,
            text=sentence(rule),
            connections=len(met[index]) if plan.replayed is None else None,
            first=list(islice(met[index], _FIRST)),
            draws=draws.get(index),
        )
        for index, rule in enumerate(plan.rules)
    ]
    return Report(seed=plan.seed, connection=connection, ticket=one.ticket if one else None, rules=rules)


def in_words(found: Report) -> str:
    """Return a report as text, a line for each thing."""
    lines = []
    for rule in found["rules"]:
        lines += [rule["rule"], f"    {rule['text']}"]
        count = rule["connections"]
        if count is not None and count < CONNECTIONS:
            first = ", ".join(map(str, rule["first"])) + (" ..." if len(rule["first"]) < count else "")
            met = f"{count or 'none'} of the first {CONNECTIONS} connections"
            lines.append(f"    With seed {found['seed']}, {met}{': ' if first else ''}{first}")
    if found["connection"] is not None:
        if found["ticket"] is None:
            lines.append(f"Connection {found['connection']} with seed {found['seed']} meets no fault.")
        else:
            lines.append(f"Connection {found['connection']} with seed {found['seed']} meets ({found['ticket']}):")
        for rule in found["rules"]:
            for draw in rule["draws"] or ():
                lines.append(f"    {draw['text']}")
    return "".join(f"{line}\n" for line in lines)
