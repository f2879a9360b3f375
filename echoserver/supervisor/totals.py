"""The counters of all processes together, those that have ended included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from echoserver.observe.metrics import CloseReason
from echoserver.supervisor.channel import Message

# The highest of several, and not their sum.
_HIGHEST = frozenset({"queue_high_water"})


def summed(counters: Iterable[Mapping[str, Any]]) -> Message:
    """Return the sum of the counters of several processes, which need not all have the same ones."""
    total: Message = {}
    for each in counters:
        for name, value in each.items():
            before = total.get(name)
            if isinstance(value, Mapping):
                total[name] = summed([before or {}, value])
            elif name in _HIGHEST:
                total[name] = max(before or 0, value)
            else:
                total[name] = (before or 0) + value
    return total


def final(reported: Mapping[str, Any], kept: Mapping[str, Any]) -> Message:
    """Return the last counters of a process that has ended; a connection that was open then was lost.

    `accepted == active + sum(closed)` holds in what is returned, whenever and however the process ended.

    Parameters
    ----------
    reported:
        What it said last; empty if it said nothing.
    kept:
        What stands in its row of the memory that it shared with us, and may be newer.

    """
    last: Message = {**reported, **{name: _newer(reported.get(name), value) for name, value in kept.items()}}
    closed: Message = dict(last.get("closed", {}))
    accepted = last.get("accepted", 0)
    closed[CloseReason.LOST] = closed.get(CloseReason.LOST, 0) + accepted - sum(closed.values())
    return {**last, "accepted": accepted, "active": 0, "closed": closed}


def _newer(reported: Any, kept: Any) -> Any:  # noqa: ANN401 - a number, or numbers by name
    if isinstance(kept, Mapping):
        return {name: _newer((reported or {}).get(name), value) for name, value in kept.items()}
    return max(reported or 0, kept)
