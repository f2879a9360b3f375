"""The admin endpoint of the command: what it may have the process do."""

from __future__ import annotations

from echoserver.admin.guard import read_token
from echoserver.admin.local import Actions, LocalControl
from echoserver.admin.serving import AdminServer
from echoserver.net.endpoint import Endpoint
from echoserver.observe.logs import LogWriter
from echoserver.process.run import Reload
from echoserver.process.signals import EventInbox, Notice
from echoserver.server import Server


def make_admin(endpoint: Endpoint, server: Server, writer: LogWriter, inbox: EventInbox, reload: Reload) -> AdminServer:
    """Return what answers requests for control; it has not been started.

    Parameters
    ----------
    endpoint:
        Where it is to listen.
    server:
        What it answers for.
    writer:
        The log, whose level it may change.
    inbox:
        Where it says that the process is to stop.
    reload:
        What it may have done.

    Raises
    ------
    ConfigError
        The endpoint or the token is refused.

    """
    actions = Actions(
        drain=lambda: inbox.post(Notice.DRAIN),
        is_draining=lambda: inbox.draining,
        reload=reload,
        log_level=lambda: writer.level,
        set_log_level=writer.set_level,
    )
    control = LocalControl(server, actions, writer.logger)
    return AdminServer(endpoint, read_token(server.config.admin_token_file), control, writer.logger)
