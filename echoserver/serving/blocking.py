"""A connection that has a thread to itself, which waits in its receives and sends."""

from __future__ import annotations

from threading import Event, get_ident
from time import monotonic

from echoserver.net.buffer import USUAL_BYTES, ReceiveBuffer
from echoserver.net.kernel import unread
from echoserver.net.splice import WORTH_MOVING
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.affinity import Cores
from echoserver.serving.connection import ABRUPT, RECEIVE_BYTES, Connection, HandlerFailedError
from echoserver.serving.rate import TokenBucket

# A look-up less on the message path than the attributes of the class.
_RECEIVING, _SENDING = ConnectionState.RECEIVING.value, ConnectionState.SENDING.value

# Asking is a system call.
_RECEIVES_NOT_ASKED = 15
# So is a change of cores, and bulk data comes in pieces of all lengths.
_RECEIVES_SPREAD = 64


class BlockingConnection(Connection):
    """One peer, served by one thread from the first byte to the last."""

    __slots__ = ("_hurry",)

    def serve(self, buffer: ReceiveBuffer, cores: Cores) -> CloseReason:
        """Serve the peer to its end and return how it ended. Raises nothing of the peer's or the handler's doing.

        Parameters
        ----------
        buffer:
            The serving thread's own.
        cores:
            Where that thread runs.

        """
        self.served_by = get_ident()
        try:
            self._say(self._open())
            self.stats.state = _RECEIVING
            if self._bucket is not None:
                self._serve_limited(self._bucket)
            elif self._unchanged:
                self._send_back(buffer, cores)
            else:
                self._converse()
            self._answer_what_arrived()
            self.reason = self.ending or CloseReason.EOF
            if self.reason not in ABRUPT:
                self._say(self._ask("finish"))
        except HandlerFailedError as failure:
            self._failed(CloseReason.HANDLER, failure.__cause__)
        except OSError as error:
            self._failed(CloseReason.RESET, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours; it ends this connection and nothing else
            self._failed(CloseReason.KILLED, error)
        return self.reason

    def _send_back(self, buffer: ReceiveBuffer, cores: Cores) -> None:
        """Send back what comes, out of the memory it was received into, up to the end of input."""
        receive, send, memory, stats = self._receive_into, self._send, buffer.usual, self.stats
        size, part = buffer.size, buffer.part
        not_asking = 0  # for how many long receives the kernel isn't asked what they left
        spread = 0  # for how many short receives this thread goes on running on all cores
        try:
            while self.ending is None and (count := receive(memory)):
                stats.bytes_in += count
                stats.state = _SENDING
                if count != size:
                    size, part = count, buffer.first(count)
                sent = send(part)
                stats.bytes_out += sent
                if sent != count:
                    self._send_rest(part[sent:])
                stats.replies += 1
                if count >= USUAL_BYTES:  # filled: there may be more
                    if not spread:  # copying so much takes longer than a change of cores, and needs no lock
                        cores.spread()
                    spread = _RECEIVES_SPREAD
                    if not_asking:
                        not_asking -= 1
                    elif self._move_more():
                        memory = buffer.usual
                    else:  # as with messages not much longer than that: receive the next ones whole, and don't ask
                        memory, not_asking = buffer.whole, _RECEIVES_NOT_ASKED
                elif spread:
                    spread -= 1
                    if not spread:
                        cores.share()
                stats.state = _RECEIVING
        finally:
            if spread:
                cores.share()

    def _move_more(self) -> bool:
        """Send back, without copying it, what a receive left behind; return whether that was enough to be worth it."""
        moved = False
        while self._pipes is not None and self.ending is None and unread(self._sock) >= WORTH_MOVING:
            pipe = self._pipes.borrow()
            if pipe is None:
                break
            count, rest = self._move(pipe)
            if not count:  # the next byte is an urgent one, which only a receive takes
                break
            # Of a blocking socket there is no rest but after it was shut down, and then sending says so.
            self._say(rest)
            moved = True
        return moved

    def _converse(self) -> None:
        """Have the handler answer what comes, up to the end of input."""
        receive, stats = self._receive, self.stats
        while self.ending is None and (data := receive(RECEIVE_BYTES)):
            self._say(self._reply(data))
            stats.state = _RECEIVING

    def _serve_limited(self, bucket: TokenBucket) -> None:
        """Answer the peer no faster than the rate limit allows, up to the end of input or until asked to end."""
        self._hurry = Event()
        self.when_ended(self._hurry.set)
        while self.ending is None:
            if wait := bucket.wait(monotonic()):
                self.stats.state = ConnectionState.PAUSED
                self._hurry.wait(wait)
                continue
            self.stats.state = _RECEIVING
            data = self._receive(bucket.most(RECEIVE_BYTES))
            if not data:
                return
            bucket.spend(len(data), monotonic())
            self._say(self._reply(data))

    def _say(self, reply: bytes) -> None:
        """Send all of a reply."""
        if not reply:
            return
        stats = self.stats
        stats.state = _SENDING
        sent = self._send(reply)
        stats.bytes_out += sent
        if sent != len(reply):
            self._send_rest(memoryview(reply)[sent:])
        stats.replies += 1

    def _send_rest(self, rest: memoryview) -> None:
        """Go on where a send stopped. The kernel takes all, but for a thread that was woken in the middle to end."""
        while rest:
            sent = self._send(rest)
            self.stats.bytes_out += sent
            rest = rest[sent:]

    def _answer_what_arrived(self) -> None:
        """Answer the bytes that had come when the server asked this connection to end, and no later ones.

        A peer that never stops sending can so not hold up a drain. An abrupt end answers nothing more.
        """
        if self.ending is None or self.ending in ABRUPT:
            return
        left = unread(self._sock)
        while left > 0 and self.ending not in ABRUPT and (data := self._receive(min(left, RECEIVE_BYTES))):
            left -= len(data)
            self._say(self._reply(data))
