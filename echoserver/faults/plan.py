"""The rules of a server, and the schedule of each connection."""

from __future__ import annotations

from collections.abc import Iterable

from echoserver.faults.rules import Rule
from echoserver.faults.schedule import Schedule

MOST_SEED = 2**63 - 1
"""The largest seed: what an integer in TOML holds."""


class Plan:
    """A set of rules with a seed. It never changes, so any thread may ask it; a change is another plan.

    Parameters
    ----------
    rules:
        The rules, in the order given.
    seed:
        The seed of all draws, from 0 to `MOST_SEED`.
    generation:
        Counts the changes of a server's rules, from 1.
    replayed:
        The number that every connection is treated as having; `None` is its own.

    Raises
    ------
    ValueError
        Two rules make no sense together. The message names them.

    """

    __slots__ = ("generation", "replayed", "rules", "seed")

    def __init__(self, rules: Iterable[Rule], seed: int, generation: int = 1, replayed: int | None = None) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.generation = generation
        self.replayed = replayed

    def schedule(self, connection: int) -> Schedule | None:
        """Return what the connection with this number meets; `None` if no rule can concern it."""
        raise NotImplementedError


def load_plan(rules: Iterable[Rule], seed: int, file: str, ticket: str) -> Plan | None:
    """Return the plan that the options of a configuration stand for; `None` without rules and ticket.

    Parameters
    ----------
    rules:
        The rules given one by one (`fault`). They come after those of the file.
    seed:
        The seed; 0 is that of the file, or else one drawn here.
    file:
        The path of a fault file; empty is none.
    ticket:
        The ticket of a connection whose schedule each connection is to meet; empty is none.

    Raises
    ------
    ConfigError
        The file or the ticket is refused, or the rules make no sense together. The message names which.

    """
    raise NotImplementedError
