"""The admin endpoint of a process: another server, with limits of its own and a handler that speaks HTTP."""

from __future__ import annotations

from collections.abc import Callable

from echoserver.admin.control import Control
from echoserver.admin.guard import Guard
from echoserver.config import ServerConfig
from echoserver.errors import ConfigError
from echoserver.net.endpoint import Endpoint
from echoserver.observe.logger import Logger
from echoserver.server import Server

_CONNECTIONS = 64
_IDLE_SECONDS = 10.0
_SECONDS = 10.0
_STOP_SECONDS = 1.0
_EXTRA = "pip install 'echoserver[admin]'"


class AdminServer:
    """Answers for another server.

    Parameters
    ----------
    endpoint:
        Where to listen.
    token:
        What requests over TCP must have; empty for none.
    control:
        What is asked.
    log:
        Gets the lines of this server.

    Raises
    ------
    ConfigError
        The endpoint is open to other machines without a token, or the packages for this are not installed.

    """

    def __init__(self, endpoint: Endpoint, token: str, control: Control, log: Logger) -> None:
        try:
            from echoserver.admin.http import handler_for
        except ImportError as error:
            raise ConfigError(f"needs the package {error.name}: {_EXTRA}", key="admin") from None
        from echoserver.admin.routes import Api

        api = Api(control, Guard(endpoint, token), _metrics_of(control))
        config = ServerConfig(
            listen=(endpoint,),
            handler=handler_for(api),
            max_connections=_CONNECTIONS,
            idle_timeout=_IDLE_SECONDS,
            write_timeout=_SECONDS,
            handler_timeout=0,
            cores="all",
        )
        self._log = log
        self._server = Server(config, log=_Quiet(log))

    def start(self) -> None:
        """Listen; see `Server.start` for the errors."""
        self._server.start()
        self._log.info("admin listening", endpoint=self._server.endpoints[0])

    def stop(self) -> None:
        """Stop, within a second."""
        self._server.stop(_STOP_SECONDS)


class _Quiet:
    """A logger for which probes and scrapes, which come every few seconds, are no news."""

    def __init__(self, log: Logger) -> None:
        self.debug = self.info = log.debug
        self.warning = log.warning
        self.error = log.error


def _metrics_of(control: Control) -> Callable[[str], tuple[bytes, str]]:
    made: list[Callable[[str], tuple[bytes, str]]] = []

    def render(accept: str) -> tuple[bytes, str]:
        if not made:
            from echoserver.admin.metrics import Exposition  # at the first scrape, since it takes long to load

            made.append(Exposition(control).render)
        return made[0](accept)

    return render
