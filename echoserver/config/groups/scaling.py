"""How many processes serve, and how one generation of them follows another."""

from __future__ import annotations

from dataclasses import dataclass

from echoserver.config.declaring import option
from echoserver.config.values import Duration, Whole


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Scaling:
    """The options of this group. See `ServerConfig`."""

    processes: int = option(
        1,
        Whole(0, 256),
        "Number of processes that serve on the same endpoints; 0 means one for each usable core.",
        "One process uses one core for what handlers compute in Python. Several use as many, share all limits, and are "
        "replaced when they die.",
        fixed=True,
    )
    retire_timeout: float = option(
        300.0,
        Duration(),
        "With several processes: after a reload, end the connections of the old ones after this long.",
        "They go on in the process that they began in, which accepts no new ones and ends with the last of them.",
        fixed=True,
    )
