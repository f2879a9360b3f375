"""Resetting a connection at once, whatever the thread that serves it is doing."""

from __future__ import annotations

import os
import select

from echoserver.net.transport import Transport
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection


def reset_now(connection: Connection) -> bool:
    """Have the kernel reset a connection now; return whether it was still open.

    Only the thread that serves a connection closes its descriptor, and that thread may be in a handler. So the number
    is made to mean something else, which closes the socket, and goes on belonging to the connection.
    """

    def shut() -> None:
        transport = connection.transport
        transport.reset_on_close()
        # A call that waits keeps the socket open. One that receives is woken by shutting the reading side, of which
        # the peer learns nothing. One that sends is woken by shutting both, and then the end of the stream waits behind
        # what the peer does not take, so that the reset comes first.
        if connection.stats.state == ConnectionState.SENDING and not _is_writable(transport):
            transport.shut_both()
        else:
            transport.shut_reading()
        reading, writing = os.pipe()
        try:
            os.dup2(reading, transport.fileno(), inheritable=False)
        finally:
            os.close(reading)
            os.close(writing)

    return connection.end(CloseReason.KILLED, shut=shut)


def _is_writable(transport: Transport) -> bool:
    poll = select.poll()
    poll.register(transport.fileno(), select.POLLOUT)
    return bool(poll.poll(0))
