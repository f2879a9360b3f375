"""A server that leaves its work to another process."""

from __future__ import annotations

from echoserver.clock import Deadline
from echoserver.config import ServerConfig
from echoserver.net.listener import Listener
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason
from echoserver.server import Server
from echoserver.serving.board import Row
from echoserver.serving.stopping import Patience

_GRACE_TO_STOP_ACCEPTING = 5.0


class RetiringServer(Server):
    """A server on listeners that other processes share. All methods may be called from any thread.

    Parameters
    ----------
    config:
        How it behaves.
    log:
        Its log.
    listeners:
        Where it listens. It closes them, and leaves the files of unix sockets to the supervisor.
    row:
        Where it counts what all processes share.

    """

    def __init__(self, config: ServerConfig, log: Logger, listeners: list[Listener], row: Row) -> None:
        super().__init__(config, log=log, listeners=listeners, row=row)
        self._retirement = Patience(self._registry)

    @property
    def handler_name(self) -> str:
        """The name of the handler."""
        return self._lifecycle.recipe.factory.name

    def stop_accepting(self) -> None:
        """Leave new peers to the other processes that listen on the same sockets; return when these are closed here."""
        self._accepting.retire(Deadline(_GRACE_TO_STOP_ACCEPTING))

    def retire(self, timeout: float) -> list[str]:
        """Accept no more, and leave new peers to the other processes; stop when all connections have ended.

        Open connections go on as they are, until each comes to its own end. Those that are left at the timeout get the
        replies to what had arrived, and end as `retired`.

        Parameters
        ----------
        timeout:
            How long they may go on, in seconds. 0 waits without limit.

        Returns
        -------
        list of str
            The connections that had to be cut, as `id peer`.

        """
        self.stop_accepting()
        self._registry.wait_empty(self._retirement.begin(timeout))
        return self._stop(None, CloseReason.RETIRED)

    def end_retirement(self) -> None:
        """Have the retirement that is under way wait no longer."""
        self._retirement.end()
