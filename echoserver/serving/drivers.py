"""Which driver serves a connection; chosen once, so that none pays for what it does not have."""

from __future__ import annotations

from echoserver.serving.blocking import BlockingDriver
from echoserver.serving.connection import Connection
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.opened import DecodingDriver, OpeningDriver


def drive(connection: Connection) -> NonBlockingDriver:
    """Return the driver for a new connection of workers mode."""
    if connection.transport.has_faults:
        from echoserver.serving.faulty import FaultyDriver  # a server without rules does not load it

        return FaultyDriver(connection)
    if not connection.transport.can_splice and connection.opening is not None:
        return DecodingDriver(connection)
    return NonBlockingDriver(connection) if connection.opening is None else OpeningDriver(connection)


def drive_blocking(connection: Connection) -> BlockingDriver:
    """Return the driver for a new connection of threads mode."""
    if connection.transport.has_faults:
        from echoserver.serving.faulty import FaultyBlockingDriver  # as above

        return FaultyBlockingDriver(connection)
    return BlockingDriver(connection)
