"""A reload of the process: reading the configuration again, and telling everybody whether that worked."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from echoserver.config import LoadedConfig
from echoserver.errors import ConfigError
from echoserver.observe.logs import LogWriter
from echoserver.process.descriptors import make_room
from echoserver.process.notify import ServiceManager
from echoserver.process.run import status_of
from echoserver.server import Server


def reload(server: Server, writer: LogWriter, manager: ServiceManager, load: Callable[[], LoadedConfig]) -> list[str]:
    """Have a server do as the configuration says now; return the options that have changed.

    Parameters
    ----------
    server:
        The server.
    writer:
        Its log, whose level may change.
    manager:
        Is told when that is done, whether it worked or not.
    load:
        Reads the configuration.

    Raises
    ------
    ConfigError
        Something is refused. It has been logged, and nothing has changed.

    """
    # The clock of systemd's own time stamps, which it needs to know this reload from an earlier one.
    manager.tell(RELOADING="1", MONOTONIC_USEC=str(monotonic_ns() // 1000))
    status = status_of(server)
    try:
        try:
            config = load().config
            make_room(config.max_connections)
        except ConfigError as error:
            writer.logger.warning("not reloaded", reason=str(error))
            raise
        changed = server.reload(config)
        writer.set_level(config.log_level)
    except ConfigError as error:
        status = f"{status}; not reloaded: {error}"
        raise
    else:
        return changed
    finally:
        manager.tell(READY="1", STATUS=status)
