"""The limit of open files, which each connection counts against."""

from __future__ import annotations

import resource

from echoserver.errors import ConfigError

IN_RESERVE = 32
"""Descriptors beside the connections: standard streams, listeners, selectors, wake-up sockets, and a handler's own."""


def make_room(connections: int) -> None:
    """Raise this process's soft limit of open files as far as the connections need, and the hard limit allows.

    Only the command does so: in an embedding program the limit is the host's to set.

    Raises
    ------
    ConfigError
        The hard limit doesn't allow that many (getrlimit(2), RLIMIT_NOFILE).

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
