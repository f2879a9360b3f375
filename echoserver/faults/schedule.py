"""What one connection meets."""

from __future__ import annotations

import math
from collections.abc import Sequence

from echoserver.faults.bound import BoundRule, Reply
from echoserver.faults.effects import Cut, Drop, Effect, Refuse, Slice, Stall, Throttle
from echoserver.faults.tickets import Ticket


class Schedule:
    """The faults of one connection: a pure function of the seed, the rules and the connection's number.

    It never changes: any thread may ask, in any order, and gets the same answer. `Plan.schedule` makes it.

    Parameters
    ----------
    rules:
        The rules that concern the connection.
    seed:
        The seed of all draws.
    connection:
        The number of the connection, from 1.

    """

    __slots__ = ("_moments", "_replies", "connection", "refused", "rules", "seed")

    def __init__(self, rules: Sequence[BoundRule], seed: int, connection: int) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.connection = connection
        self.refused = next((Refuse(bound.index) for bound in rules if bound.rule.kind == "refuse"), None)
        """What closes the connection when it is accepted; `None` for most."""
        moments: list[tuple[float, BoundRule]] = []
        self._replies: list[BoundRule] = []
        for bound in self.rules:
            moment = bound.moment(connection)
            if moment is not None:
                moments.append((moment, bound))
            elif bound.rule.kind != "refuse":
                self._replies.append(bound)
        self._moments = sorted(moments, key=lambda entry: entry[0])

    @property
    def ticket(self) -> str:
        """The text that reproduces this schedule: `read_ticket` reads it."""
        return str(Ticket(self.seed, self.connection, tuple(bound.rule for bound in self.rules)))

    def reply(self, index: int, offset: int, length: int, age: float) -> tuple[Effect, ...]:
        """Return what happens to a reply, in the order of places, and at one place in the order of the rules.

        An effect at a byte happens to the reply that has the byte. One that cuts the connection after so many bytes
        happens to the reply with the last of them. A `Drop` comes alone, but for what cuts the connection in place
        of the reply. Nothing follows an effect after which nothing is sent.

        Parameters
        ----------
        index:
            The number of the reply, from 0.
        offset:
            How many bytes the server has sent before it: copies included, dropped replies not.
        length:
            Its length in bytes, at least 1.
        age:
            How many seconds old the connection is.

        """
        connection = self.connection
        hits = [bound for bound in self._replies if bound.hits(connection, index, age)]
        if not hits:
            return ()
        kinds = [bound.rule.kind for bound in hits]
        copies = 0 if "drop" in kinds else 1 + kinds.count("duplicate")
        reply = Reply(index, offset, length, offset + copies * length, age)
        found = []
        for bound in hits:
            effect = bound.effect(connection, reply)
            if effect is not None and (copies or isinstance(effect, Cut | Drop)):
                found.append(effect)
        found.sort(key=lambda effect: _place(effect, offset))  # a stable sort keeps the order of the rules
        return tuple(_effective(found))

    def due(self, since: float, age: float) -> tuple[Cut, ...]:
        """Return what happens by itself, without a reply, at an age after `since` and not after `age`, in order.

        The first call has a negative `since`, to include what happens when the connection begins.
        """
        return tuple(bound.cut_at_moment(moment) for moment, bound in self._moments if since < moment <= age)

    def next_time(self, age: float) -> float:
        """Return the first age in seconds after `age` at which something happens by itself; `math.inf` if none."""
        return next((moment for moment, _ in self._moments if moment > age), math.inf)


def _place(effect: Effect, offset: int) -> int:
    at: int | None = getattr(effect, "at", None)
    return offset if at is None else at


def _effective(effects: Sequence[Effect]) -> list[Effect]:
    """Leave out what another effect makes ineffective."""
    found: list[Effect] = []
    rate, sliced, dropped = math.inf, -1, False
    for effect in effects:
        match effect:
            case Throttle():
                # The slowest counts. All last until the end of the reply.
                if effect.rate >= rate:
                    continue
                rate = effect.rate
            case Slice():
                if effect.at == sliced:  # of two at one place, the first counts
                    continue
                sliced = effect.at
            case Drop():
                if dropped:
                    continue
                dropped = True
            case _:
                pass
        found.append(effect)
        if isinstance(effect, Cut) and not (isinstance(effect, Stall) and effect.seconds < math.inf):
            break
    return found
