"""What one connection meets."""

from __future__ import annotations

from collections.abc import Sequence

from echoserver.faults.effects import Effect, Refuse
from echoserver.faults.rules import Rule


class Schedule:
    """The faults of one connection: a pure function of the seed, the rules and the connection's number.

    It has no state: any thread may ask, in any order, and gets the same answer.

    Parameters
    ----------
    rules:
        The rules that concern the connection, each with its index in the plan.
    seed:
        The seed of all draws.
    connection:
        The number of the connection, from 1.

    """

    __slots__ = ("connection", "refused", "rules", "seed")

    def __init__(self, rules: Sequence[tuple[int, Rule]], seed: int, connection: int) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.connection = connection
        self.refused: Refuse | None = None
        """What closes the connection when it is accepted; `None` for most."""

    @property
    def ticket(self) -> str:
        """The text that reproduces this schedule: `Plan.from_ticket` reads it."""
        raise NotImplementedError

    def reply(self, index: int, offset: int, length: int, age: float) -> tuple[Effect, ...]:
        """Return what happens to a reply, in the order of places, and at one place in the order of rules.

        It is the place in the stream that counts, not the call: an effect at a byte happens if the byte is in the
        reply. `Drop` and `Duplicate` stand at the beginning. Nothing follows an effect that ends the connection.

        Parameters
        ----------
        index:
            The number of the reply, from 0. One without bytes is none.
        offset:
            How many bytes the server has sent before it, copies included and dropped replies not.
        length:
            Its length in bytes.
        age:
            How many seconds old the connection is.

        """
        raise NotImplementedError

    def due(self, since: float, age: float) -> tuple[Effect, ...]:
        """Return what happens by itself, without a reply, at an age after `since` and not after `age`, in order.

        The first call has a negative `since`, to include what happens when the connection begins.
        """
        raise NotImplementedError

    def next_time(self, age: float) -> float:
        """Return the first age in seconds after `age` at which something happens by itself; `math.inf` if none."""
        raise NotImplementedError
