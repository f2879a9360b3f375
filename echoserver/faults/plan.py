"""The rules of a server, and the schedule of each connection."""

from __future__ import annotations

from collections.abc import Iterable

from echoserver.faults.bound import BoundRule
from echoserver.faults.conflicts import check_together
from echoserver.faults.draws import Draws
from echoserver.faults.rules import Rule
from echoserver.faults.schedule import Schedule
from echoserver.faults.tickets import Ticket


class Plan:
    """A set of rules with a seed. It never changes, so any thread may ask it; a change of rules is another plan.

    Parameters
    ----------
    rules:
        The rules, in the order given. What a rule draws depends on its own text and not on the others, so that it
        stays the same when another one is added or removed.
    seed:
        The seed of all draws, from 0 to `MOST_SEED`.
    generation:
        Counts the changes of a server's rules, from 1. Nothing drawn depends on it.
    replayed:
        The number that every connection is treated as having; `None` is its own.

    Raises
    ------
    ValueError
        Two rules make no sense together. The message names them.

    """

    __slots__ = ("_bound", "generation", "replayed", "rules", "seed")

    def __init__(self, rules: Iterable[Rule], seed: int, generation: int = 1, replayed: int | None = None) -> None:
        self.rules = tuple(rules)
        check_together(self.rules)
        self.seed = seed
        self.generation = generation
        self.replayed = replayed
        self._bound = [BoundRule(index, rule, Draws(seed, str(rule))) for index, rule in enumerate(self.rules)]

    @classmethod
    def of_ticket(cls, ticket: Ticket) -> Plan:
        """Return the plan with which every connection meets what the ticket says."""
        return cls(ticket.rules, ticket.seed, replayed=ticket.connection)

    def schedule(self, connection: int) -> Schedule | None:
        """Return what the connection with this number meets; `None` if no rule is for it."""
        number = connection if self.replayed is None else self.replayed
        concerned = [bound for bound in self._bound if bound.concerns(number)]
        return Schedule(concerned, self.seed, number) if concerned else None
