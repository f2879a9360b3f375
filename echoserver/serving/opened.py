"""The non-blocking driver of connections whose handler is not made at once."""

from __future__ import annotations

from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import ConnectionState
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.opening import RefusedError

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
    """Serves what the transport has received and decoded as well, which the socket does not tell of."""

    __slots__ = ()

    def on_ready(self, buffer: ReceiveBuffer) -> Interest:
        """Serve one event, and what is left decoded after it. See `NonBlockingDriver.on_ready`."""
        interest, transport = super().on_ready(buffer), self.connection.transport
        for _ in range(_MORE_RECEIVES):
            if interest is not Interest.READ or not transport.pending():
                return interest
            interest = super().on_ready(buffer)
        if interest is not Interest.READ or not transport.pending():
            return interest
        # Other peers get their share of the thread. The socket can be written to, so this one is back at once; if its
        # peer reads nothing at all, it is as late as one that takes no reply.
        self._stats.state = ConnectionState.SENDING
        return Interest.WRITE
