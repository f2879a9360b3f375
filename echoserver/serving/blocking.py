"""The blocking driver: serves a connection from the first byte to the last in one thread, which waits in its calls."""

from __future__ import annotations

from threading import Event, get_ident
from time import monotonic

from echoserver.handlers import Last
from echoserver.net.buffer import SMALL_BYTES, ReceiveBuffer
from echoserver.net.splice import MOVE_BYTES, WORTH_SPLICING
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.affinity import Affinity
from echoserver.serving.bulk import splice_through
from echoserver.serving.connection import RECEIVE_BYTES, Connection
from echoserver.serving.opening import RefusedError
from echoserver.serving.pieces import HandlerFailedError, Pieces
from echoserver.serving.rate import TokenBucket

# Plain numbers in the module save the message path the look-ups of an enumeration.
_RECEIVING, _SENDING, _HANDLING = (
    int(ConnectionState.RECEIVING),
    int(ConnectionState.SENDING),
    int(ConnectionState.HANDLING),
)

# The most that is sent at once, so that progress shows in the statistics where the kernel does not tell of it.
_SEND_BYTES = 262_144
# Asking the kernel what a receive left behind is a system call.
_RECEIVES_NOT_ASKED = 15
# So is changing cores, and bulk data comes in pieces of all lengths.
_RECEIVES_UNPINNED = 64


class _Finished(Exception):  # noqa: N818 - not an error
    """Leaves the serving loop after a reply that is the last one."""


class BlockingDriver:
    """Serves one connection in the calling thread.

    Parameters
    ----------
    connection:
        The connection, whose socket is blocking.

    """

    __slots__ = ("_connection", "_reply", "_resume", "_send", "_stats")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stats = connection.stats
        self._send = connection.transport.send
        self._reply = connection.session.reply
        self._resume = Event()

    def serve(self, buffer: ReceiveBuffer, affinity: Affinity) -> None:
        """Serve the peer to its end, and record in the connection how it ended.

        Raises nothing that the peer or the handler causes.

        Parameters
        ----------
        buffer:
            The memory of the calling thread to receive into.
        affinity:
            Where that thread runs.

        """
        connection = self._connection
        connection.served_by = get_ident()
        try:
            self._converse(buffer, affinity)
        except _Finished:
            connection.reason = connection.ending or CloseReason.FINISHED
        except RefusedError:  # the connection knows why
            pass
        except HandlerFailedError as failure:
            connection.failed(CloseReason.HANDLER, failure.__cause__ or failure)
        except OSError as error:
            connection.failed(CloseReason.RESET, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours, or no memory; it ends only this connection
            connection.failed(CloseReason.KILLED, error)

    def _converse(self, buffer: ReceiveBuffer, affinity: Affinity) -> None:
        """Greet, answer what comes up to the end of input, and say the last words."""
        connection, session = self._connection, self._connection.session
        if connection.opening is not None:
            connection.opening.advance(connection)
        self._stats.state = _HANDLING
        self._send_all(session.open(connection))
        self._stats.state = _RECEIVING
        if connection.bucket is not None:
            self._answer_limited(connection.bucket)
        elif session.unchanged:
            self._send_back(buffer, affinity)
        else:
            self._answer()
        self._answer_what_arrived()
        connection.reason = connection.ending or connection.end_of_input
        if not connection.abrupt:
            self._stats.state = _HANDLING
            try:
                self._send_all(session.finish())
            except _Finished:  # it was ending already
                if connection.ending is CloseReason.EXPIRED:
                    connection.reason = CloseReason.EXPIRED
        if connection.ending is None:
            self._send_end()

    def _send_end(self) -> None:
        """Send what ends the stream of a peer that has ended its own; a peer that does not take it is stalled."""
        self._stats.state = _SENDING
        try:
            self._connection.transport.send_end()
        except OSError:  # the peer has left, as it may, unless another thread has shut the socket down
            if self._connection.abrupt:
                raise

    def _send_back(self, buffer: ReceiveBuffer, affinity: Affinity) -> None:
        """Send back what comes, out of the memory it was received into, up to the end of input."""
        connection, stats = self._connection, self._stats
        receive, send, memory = connection.transport.recv_into, self._send, buffer.small
        size, view = buffer.size, buffer.view
        not_asking = 0  # for how many long receives the kernel is not asked what they left
        unpinned = 0  # for how many short receives this thread goes on running on all cores
        try:
            while connection.ending is None and (count := receive(memory)):
                stats.bytes_in += count
                stats.state = _SENDING
                if count != size:
                    size, view = count, buffer.first(count)
                sent = send(view)
                stats.bytes_out += sent
                if sent != count:
                    self._send_rest(view[sent:])
                stats.replies += 1
                if count >= SMALL_BYTES:  # filled: there may be more
                    if not unpinned:  # copying so much takes longer than changing cores, and needs no interpreter lock
                        affinity.unpin()
                    unpinned = _RECEIVES_UNPINNED
                    if not_asking:
                        not_asking -= 1
                    elif self._splice_back():
                        memory = buffer.small
                    else:  # messages not much longer than that: receive the next ones whole, and do not ask
                        memory, not_asking = buffer.full, _RECEIVES_NOT_ASKED
                elif unpinned:
                    unpinned -= 1
                    if not unpinned:
                        affinity.pin()
                stats.state = _RECEIVING
        finally:
            if unpinned:
                affinity.pin()

    def _splice_back(self) -> bool:
        """Send back, without copying it, what a receive left behind; return whether there was enough to be worth it."""
        connection, pipes, transport = self._connection, self._connection.pipes, self._connection.transport
        if pipes is None or connection.ending is not None or transport.unread() < WORTH_SPLICING:
            return False
        moved, count, rest = 0, MOVE_BYTES, b""
        # A peer that stops reading must not keep a pipe, of which there are few: without waiting, what it does not take
        # at once is copied out of the pipe, and the rest is a reply like any other.
        transport.set_blocking(False)
        try:
            # A whole move has left more behind. None at all: the next byte is urgent, and only a receive takes it.
            while count == MOVE_BYTES and not rest and connection.ending is None:
                pipe = pipes.borrow()
                if pipe is None:
                    break
                count, rest = splice_through(pipes, pipe, transport, self._stats)
                moved += count
        finally:
            transport.set_blocking(True)
        if rest:
            self._send_rest(memoryview(rest))
            self._stats.replies += 1
        return moved > 0

    def _answer(self) -> None:
        """Have the handler answer what comes, up to the end of input."""
        connection, stats = self._connection, self._stats
        receive = connection.transport.recv
        while connection.ending is None and (data := receive(RECEIVE_BYTES)):
            stats.bytes_in += len(data)
            stats.state = _HANDLING
            self._send_all(self._reply(data))
            stats.state = _RECEIVING

    def _answer_limited(self, bucket: TokenBucket) -> None:
        """Answer the peer no faster than the rate limit allows, up to the end of input or until asked to end."""
        connection, stats = self._connection, self._stats
        connection.wake_with(self)
        while connection.ending is None:
            if wait := bucket.wait(monotonic()):
                stats.state = ConnectionState.PAUSED
                self._pause(wait)
                continue
            stats.state = _RECEIVING
            data = connection.transport.recv(bucket.most(RECEIVE_BYTES))
            if not data:
                return
            bucket.spend(len(data), monotonic())
            stats.bytes_in += len(data)
            stats.state = _HANDLING
            self._send_all(self._reply(data))

    def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the connection is asked to end."""
        self._resume.wait(seconds)

    def wake(self, _connection: Connection) -> None:
        """End the pause: the connection has been asked to end. Called from any thread."""
        self._resume.set()

    def _answer_what_arrived(self) -> None:
        """Answer the bytes that had come when the server asked this connection to end, and no later ones.

        A peer that never stops sending can then not hold up a drain. An abrupt end answers nothing more.
        """
        connection, stats = self._connection, self._stats
        left = 0 if connection.ending is None or connection.abrupt else connection.transport.unread()
        while left > 0 and not connection.abrupt and (data := connection.transport.recv(min(left, RECEIVE_BYTES))):
            left -= len(data)
            stats.bytes_in += len(data)
            stats.state = _HANDLING
            self._send_all(self._reply(data))

    def _send_all(self, reply: bytes | Pieces) -> None:
        """Send all of a reply."""
        if type(reply) is not bytes:
            self._send_special(reply)
        elif reply:
            stats = self._stats
            stats.state = _SENDING
            sent = self._send(reply) if len(reply) <= _SEND_BYTES else 0
            stats.bytes_out += sent
            if sent != len(reply):
                self._send_rest(memoryview(reply)[sent:])
            stats.replies += 1

    def _send_special(self, reply: bytes | Pieces) -> None:
        """Send a reply that is the last one, or that comes in pieces."""
        if isinstance(reply, Pieces):
            try:
                last = self._send_pieces(reply)
            finally:
                reply.close()
        else:
            self._stats.state = _SENDING
            self._send_rest(memoryview(reply))
            last = True
        self._stats.replies += isinstance(reply, Pieces) or bool(reply)
        if last:
            raise _Finished

    def _send_pieces(self, pieces: Pieces) -> bool:
        """Send each piece when the peer has accepted the one before it; return whether nothing may follow them."""
        connection, stats = self._connection, self._stats
        stats.state = _HANDLING
        while (piece := pieces.next()) is not None:
            stats.state = _SENDING
            self._send_rest(memoryview(piece))
            # Pieces may have no end, so a connection whose lifetime is over takes no more of them.
            if isinstance(piece, Last) or connection.abrupt or connection.ending is CloseReason.EXPIRED:
                return True
            stats.state = _HANDLING
        return False

    def _send_rest(self, rest: memoryview) -> None:
        """Send all of this. The kernel takes what it is given, except in a thread that was woken to end."""
        while rest:
            sent = self._send(rest[:_SEND_BYTES])
            self._stats.bytes_out += sent
            rest = rest[sent:]
