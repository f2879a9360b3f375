"""The non-blocking driver of connections whose handler is not made at once."""

from __future__ import annotations

from echoserver.serving.connection import Connection
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.opening import RefusedError


class OpeningDriver(NonBlockingDriver):
    """Goes through the connection's opening first, and then serves it as any other."""

    __slots__ = ()

    def _on_special(self) -> Interest:
        connection = self.connection
        if connection.opening is not None:
            try:
                interest = connection.opening.advance(connection)
            except RefusedError:
                return self.give_up()
            if interest is not None:
                return interest
        return super()._on_special()


def drive(connection: Connection) -> NonBlockingDriver:
    """Return the driver for a new connection."""
    return NonBlockingDriver(connection) if connection.opening is None else OpeningDriver(connection)
