"""From the options of a configuration, or a fault file, to a plan."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from echoserver.errors import ConfigError, did_you_mean, shown
from echoserver.faults.draws import MOST_SEED
from echoserver.faults.kinds import KINDS
from echoserver.faults.plan import Plan
from echoserver.faults.rules import Rule, parse_rule
from echoserver.faults.tickets import read_ticket
from echoserver.toml_file import read_toml

_FILE_KEYS = ("seed", "fault")
_FAULT_KEYS = ("kind", "parameters", "trigger")


def load_plan(rules: Sequence[Rule], seed: int, file: str, ticket: str) -> Plan | None:
    """Return the plan that the options of a configuration stand for; `None` if there is no rule.

    Parameters
    ----------
    rules:
        The rules given one by one (`fault`). They come after those of the file.
    seed:
        The seed; 0 is that of the file, or else one that is drawn here.
    file:
        The path of a fault file; empty is none.
    ticket:
        The ticket whose schedule every connection is to meet; empty is none. Nothing else is given with one.

    Raises
    ------
    ConfigError
        The file or the ticket is refused, or the rules make no sense together. The message says why.

    """
    if ticket:
        try:
            return Plan.of_ticket(read_ticket(ticket))
        except ValueError as error:
            raise ConfigError(str(error), key="fault_ticket") from None
    of_file, seed_of_file = read_file(file, "--fault-file") if file else ((), 0)
    if not (rules or of_file):
        return None
    try:
        return Plan((*of_file, *rules), seed or seed_of_file or draw_seed())
    except ValueError as error:
        raise ConfigError(str(error), key="fault" if rules else None, origin=None if rules else file) from None


def draw_seed() -> int:
    """Return a seed for when none is given: of 32 bits, so that it can be read out and tickets stay short."""
    return 1 + secrets.randbelow(2**32 - 1)


def read_file(path: str, told_by: str) -> tuple[tuple[Rule, ...], int]:
    """Return the rules and the seed of a fault file; the seed is 0 if it has none.

    Parameters
    ----------
    path:
        The path of the file.
    told_by:
        What named it, for the message if it can't be read.

    Raises
    ------
    ConfigError
        The file can't be read, or a key or a value in it is refused. The message names it.

    """
    table = read_toml(path, told_by)
    try:
        return _read_table(table)
    except ValueError as error:
        raise ConfigError(str(error), origin=path) from None


def _read_table(table: Mapping[str, Any]) -> tuple[tuple[Rule, ...], int]:
    _check_keys(table, _FILE_KEYS)
    seed = table.get("seed", 0)
    if type(seed) is not int or not 0 <= seed <= MOST_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MOST_SEED}; 0 is one that is drawn")
    faults = table.get("fault", [])
    if not isinstance(faults, list) or not faults or not all(isinstance(fault, dict) for fault in faults):
        raise ValueError('there must be at least one rule: [[fault]] and below it a line such as kind = "reset"')
    rules = []
    for number, fault in enumerate(faults, start=1):
        try:
            rules.append(_read_fault(fault))
        except ValueError as error:
            raise ValueError(f"fault {number}: {error}") from None
    return tuple(rules), seed


def _read_fault(fault: Mapping[str, object]) -> Rule:
    _check_keys(fault, _FAULT_KEYS)
    texts = {key: value for key, value in fault.items() if isinstance(value, str) and value}
    for key in fault:
        if key not in texts:
            raise ValueError(f"{key} must be a text that is not empty; leave it out if there is none")
    kind, parameters, trigger = (texts.get(key, "") for key in _FAULT_KEYS)
    if kind not in KINDS:
        missing = f"there is no kind of fault {shown(kind)}" if kind else "kind is missing"
        raise ValueError(f"{missing}; {did_you_mean(kind, KINDS)}")
    if "@" in parameters:
        raise ValueError(f"{shown(parameters)} must be parameters only; what follows @ is the trigger")
    return parse_rule(kind + (f"={parameters}" if parameters else "") + (f"@{trigger}" if trigger else ""))


def _check_keys(table: Mapping[str, object], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {shown(key)}; {did_you_mean(key, known)}")
