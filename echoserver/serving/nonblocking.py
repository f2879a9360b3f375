"""The non-blocking driver: serves a connection one event at a time, in whichever thread gets the event."""

from __future__ import annotations

from time import monotonic

from echoserver.handlers import Last
from echoserver.net.buffer import SMALL_BYTES, ReceiveBuffer
from echoserver.net.splice import STILL_BULK
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.bulk import splice_through
from echoserver.serving.connection import RECEIVE_BYTES, Connection
from echoserver.serving.interest import Interest
from echoserver.serving.pieces import HandlerFailedError, Pieces
from echoserver.serving.rate import TokenBucket

# Names of the module save the message path the look-ups of an enumeration.
_READ, _WRITE, _NOTHING = Interest.READ, Interest.WRITE, Interest.NOTHING
_RECEIVING, _SENDING, _HANDLING = (
    int(ConnectionState.RECEIVING),
    int(ConnectionState.SENDING),
    int(ConnectionState.HANDLING),
)

# How much of a reply in pieces one event sends at most, and in how many of them, so that it does not keep the thread.
_PIECE_BYTES = 262_144
_PIECES = 16


class NonBlockingDriver:
    """Serves one connection, whose socket is non-blocking, in one thread at a time: its owner.

    Parameters
    ----------
    connection:
        The connection.

    """

    __slots__ = (
        *("_bulk", "_final", "_left", "_opened", "_pieces", "_plain", "_receive", "_receive_into", "_reply", "_send"),
        *("_stats", "_unchanged", "_unsent", "connection", "queued", "registered", "resume_at"),
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.registered = _NOTHING
        """What it waits for in the epoll set; `NOTHING` while it is not there. The owner's own."""
        self.queued = False
        """Whether a worker has it, or will; see `poller.py`."""
        self.resume_at = 0.0
        """When a pause ends, on the monotonic clock; valid once `on_ready` has asked for one."""
        self._stats = connection.stats
        self._unchanged = connection.session.unchanged
        self._send = connection.transport.send
        if self._unchanged:  # each of these takes up memory: only what is used is made
            self._receive_into = connection.transport.recv_into
        else:
            self._receive, self._reply = connection.transport.recv, connection.session.reply
        # What one event leaves to the next; the owner's own.
        self._opened = False
        self._bulk = False  # whether the peer sends in bulk
        # Whether the next event is just another message: opened, nothing unsent, not limited, no bulk.
        self._plain = False
        self._unsent: memoryview | None = None  # what the peer has yet to take of a reply
        self._pieces: Pieces | None = None  # what is still to come of a reply in pieces
        self._left = -1  # once asked to end: how much of what had arrived is still to be answered
        self._final = False  # nothing comes after what is unsent

    def on_ready(self, buffer: ReceiveBuffer) -> Interest:
        """Serve one event without waiting, and return what to wait for next. Raises nothing.

        An event is at most one receive, the reply to it, and as much of that as the peer takes. So a greedy peer cannot
        keep the thread, and a slow one costs no more memory than one reply: nothing is received from it until it has
        taken that.

        Parameters
        ----------
        buffer:
            The calling thread's own.

        """
        try:
            if not self._plain or self.connection.ending is not None:
                return self._on_special()
            if not self._unchanged:
                data = self._receive(RECEIVE_BYTES)
                return self._answer(data) if data else self._on_end_of_input()
            # What comes is sent back out of the memory it was received into. All of it stands in this one place: every
            # message comes this way, and a call of another method would be felt.
            count = self._receive_into(buffer.small)
            if not count:
                return self._on_end_of_input()
            stats = self._stats
            stats.bytes_in += count
            view = buffer.view if count == buffer.size else buffer.first(count)
            try:
                sent = self._send(view)
            except BlockingIOError:
                sent = 0
            stats.bytes_out += sent
            if count == SMALL_BYTES:  # filled: there may be more
                self._bulk, self._plain = True, False
            if sent != count:
                return self._keep_unsent(bytes(view[sent:]))
            stats.replies += 1
            stats.state = _RECEIVING
        except BlockingIOError:  # from a receive alone: it was woken for nothing
            self._stats.state = _RECEIVING
            return _READ
        except HandlerFailedError as failure:
            data = b""  # the traceback keeps this frame, which would keep what was received
            self.connection.failed(CloseReason.HANDLER, failure.__cause__ or failure)
        except OSError as error:
            self.connection.failed(CloseReason.RESET, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours, or no memory; the thread serves other peers too
            self.connection.failed(CloseReason.KILLED, error)
        else:
            return _READ
        return self.give_up()

    def give_up(self) -> Interest:
        """Let go of a reply that failed."""
        self._unsent = None
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            try:
                pieces.close()
            except HandlerFailedError as failure:
                self.connection.failed(CloseReason.HANDLER, failure.__cause__ or failure)
        return _NOTHING

    def _answer(self, data: bytes) -> Interest:
        """Count what came, and send what the peer takes of the reply."""
        stats = self._stats
        stats.bytes_in += len(data)
        if self._unchanged:
            return self._try_send(data)
        stats.state = _HANDLING
        reply = self._reply(data)
        return self._try_send(reply) if type(reply) is bytes else self._begin_special_reply(reply)

    def _on_end_of_input(self) -> Interest:
        """Serve the event that found no more input: the peer's end, or that of whoever asked it to end just now."""
        return self._finish(self.connection.end_of_input) if self.connection.ending is None else self._on_special()

    def _try_send(self, reply: bytes | memoryview) -> Interest:
        """Send what the peer takes of a reply and keep the rest."""
        stats = self._stats
        if reply:
            try:
                sent = self._send(reply)
            except BlockingIOError:
                sent = 0
            stats.bytes_out += sent
            if sent != len(reply):
                return self._keep_unsent(memoryview(reply)[sent:])
            stats.replies += self._pieces is None  # a piece is no reply of its own
        stats.state = _RECEIVING
        return _READ

    def _keep_unsent(self, rest: bytes | memoryview) -> Interest:
        """Keep what the peer did not take of a reply; nothing is received before that has gone."""
        self._unsent = memoryview(rest)
        self._plain = False
        self._stats.state = _SENDING
        return _WRITE

    # -- replies other than bytes

    def _begin_special_reply(self, reply: bytes | Pieces) -> Interest:
        """Send what the peer takes of a reply that is the last one, or that comes in pieces."""
        if isinstance(reply, Pieces):
            self._pieces = reply
            self._plain = False
            return self._send_pieces()
        if isinstance(reply, Last):
            return self._send_last(reply)
        return self._try_send(reply)

    def _send_last(self, reply: bytes) -> Interest:
        """Send a reply that ends the connection."""
        connection = self.connection
        connection.reason = connection.ending or (connection.reason if self._final else CloseReason.FINISHED)
        self._final = True
        return _NOTHING if self._try_send(memoryview(reply)) is _READ else _WRITE

    def _send_pieces(self) -> Interest:
        """Send what the peer takes of the pieces, up to a limit that leaves other peers their share of the thread."""
        pieces, sent = self._pieces, 0
        assert pieces is not None
        for _ in range(_PIECES):
            self._stats.state = _HANDLING
            piece = pieces.next()
            # Pieces may have no end, so a connection whose lifetime is over takes no more of them.
            if piece is None or isinstance(piece, Last) or self.connection.ending is CloseReason.EXPIRED:
                self._pieces = None
                self._stats.replies += not piece  # any other is counted where it is sent
                try:
                    if piece is not None:
                        return self._send_last(piece)
                finally:
                    pieces.close()
                return self._after_reply()
            sent += len(piece)
            if self._try_send(piece) is _WRITE or sent >= _PIECE_BYTES:
                break
        self._stats.state = _SENDING
        return _WRITE

    def _after_reply(self) -> Interest:
        """Return what to wait for when a reply has gone out completely."""
        if self._final:
            return _NOTHING
        bucket = self.connection.bucket
        self._plain = self._opened and bucket is None and not self._bulk
        if bucket is None:
            self._stats.state = _RECEIVING
            return _READ
        return self._read_or_pause(bucket)

    # -- events that are not just another message

    def _on_special(self) -> Interest:
        """Serve an event that is the first, the last, bulk, limited, or that finds a reply still to be sent."""
        connection = self.connection
        if connection.abrupt:
            return self._finish(connection.ending or CloseReason.KILLED)
        if self._unsent is not None:
            if self._try_send(self._unsent) is _WRITE:
                return _WRITE
            self._unsent = None
            if self._pieces is None:
                return self._after_reply()
        if self._pieces is not None:
            return self._send_pieces()
        if not self._opened:
            self._opened = True
            self._plain = connection.bucket is None
            self._stats.state = _HANDLING
            greeting = connection.session.open(connection)
            return self._try_send(greeting) if type(greeting) is bytes else self._begin_special_reply(greeting)
        if connection.ending is None:
            return self._on_bulk() if connection.bucket is None else self._on_limited(connection.bucket)
        if self._left < 0:
            self._left = connection.transport.unread()
        if self._left and (data := connection.transport.recv(min(self._left, RECEIVE_BYTES))):
            self._left -= len(data)
            # The reading side is shut down, so the socket stays readable and the next event comes at once.
            return self._answer(data)
        return self._finish(connection.ending)

    def _on_bulk(self) -> Interest:
        """Serve an event without copying, or like any other where there is no pipe or nothing more has arrived."""
        connection = self.connection
        pipes = connection.pipes
        pipe = pipes.borrow() if pipes is not None else None
        count, rest = 0, b""
        if pipes is not None and pipe is not None:
            count, rest = splice_through(pipes, pipe, connection.transport, self._stats)
        self._bulk = count >= STILL_BULK
        self._plain = not self._bulk
        if count:
            return self._try_send(rest)
        data = connection.transport.recv(RECEIVE_BYTES)
        return self._answer(data) if data else self._on_end_of_input()

    def _on_limited(self, bucket: TokenBucket) -> Interest:
        """Serve an event of a connection with a rate limit."""
        if self._read_or_pause(bucket) is Interest.PAUSE:
            return Interest.PAUSE
        data = self.connection.transport.recv(bucket.most(RECEIVE_BYTES))
        if not data:
            return self._on_end_of_input()
        bucket.spend(len(data), monotonic())
        interest = self._answer(data)
        return self._read_or_pause(bucket) if interest is _READ else interest

    def _read_or_pause(self, bucket: TokenBucket) -> Interest:
        """Return what a connection with a rate limit waits for when it has nothing left to send."""
        now = monotonic()
        if self.connection.ending is None and (wait := bucket.wait(now)):
            self.resume_at = now + wait
            self._stats.state = ConnectionState.PAUSED
            return Interest.PAUSE
        self._stats.state = _RECEIVING
        return _READ

    def _finish(self, reason: CloseReason) -> Interest:
        """Serve the event after which only the handler's last words, if any, are to be sent."""
        connection = self.connection
        connection.reason = reason
        self._final = True
        if connection.abrupt:
            return self.give_up()
        self._stats.state = _HANDLING
        words = connection.session.finish()
        if type(words) is not bytes:
            return self._begin_special_reply(words)
        return _NOTHING if self._try_send(words) is _READ else _WRITE
