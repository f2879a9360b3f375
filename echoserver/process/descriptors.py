"""The limit on open files, against which each connection counts."""

from __future__ import annotations

import resource

from echoserver.errors import ConfigError

IN_RESERVE = 32
"""Descriptors besides the connections: standard streams, listeners, selectors, wake-up sockets, and a handler's own."""


def make_room(connections: int) -> None:
    """Raise this process's soft limit on open files as far as the connections need.

    Only the command does so: in an embedding program the limit is the host's to set.

    Parameters
    ----------
    connections:
        How many connections may be open at once.

    Raises
    ------
    ConfigError
        The hard limit doesn't allow that many (getrlimit(2), `RLIMIT_NOFILE`).

    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + IN_RESERVE
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        limit = soft if hard == resource.RLIM_INFINITY else hard
        most = max(0, limit - IN_RESERVE)
        raise ConfigError(
            f"{connections} is refused: must be at most {most}, since this process may open {limit} files; "
            "lower it, or raise the limit (ulimit -n)",
            key="max_connections",
        ) from None
