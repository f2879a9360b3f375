"""The non-blocking driver of connections whose handler is not made at once."""

from __future__ import annotations

from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.opening import RefusedError

_PEER_ENDED = frozenset({CloseReason.EOF, CloseReason.TRUNCATED})
_MORE_RECEIVES = 8  # how many receives of decoded data one event serves


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


class DecodingDriver(OpeningDriver):
    """Serves what the transport has received and decoded as well, which the socket does not tell of.

    After the last reply to a peer that has ended its stream it sends what ends ours, such as close_notify. As with any
    reply, it waits for the peer to take that.
    """

    __slots__ = ("_at_end",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._at_end = False

    def on_ready(self, buffer: ReceiveBuffer) -> Interest:
        """Serve one event, and what is left decoded after it. See `NonBlockingDriver.on_ready`."""
        if self._at_end:
            return self._send_end()
        interest, transport = super().on_ready(buffer), self.connection.transport
        for _ in range(_MORE_RECEIVES):
            if interest is not Interest.READ or not transport.pending():
                break
            interest = super().on_ready(buffer)
        if interest is Interest.NOTHING and self.connection.reason in _PEER_ENDED:
            return self._send_end()
        if interest is not Interest.READ or not transport.pending():
            return interest
        # Other peers get their share of the thread. The socket can be written to, so this one is back at once; if its
        # peer reads nothing at all, it is as late as one that takes no reply.
        self._stats.state = ConnectionState.SENDING
        return Interest.WRITE

    def _send_end(self) -> Interest:
        """Send what ends the stream."""
        connection, self._at_end = self.connection, True
        if connection.abrupt:
            connection.reason = connection.ending or connection.reason
            return Interest.NOTHING
        self._stats.state = ConnectionState.SENDING
        try:
            connection.transport.send_end()
        except BlockingIOError:
            return Interest.WRITE
        except OSError:  # the peer has left, as it may
            pass
        return Interest.NOTHING
