"""One connection without its socket: what was sent, what must come back, and when it did."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from echoclient.load.pattern import CHUNK, PERIOD, Pattern

if TYPE_CHECKING:
    from echoclient.load.recorder import Recorder


class WrongReplyError(Exception):
    """The server sent something other than the expected reply.

    Attributes:
        offset: the first wrong byte of the connection's replies.
        corrupt: whether a byte differs; otherwise, there are more bytes than were sent.
    """

    def __init__(self, offset: int, detail: str, *, corrupt: bool) -> None:
        super().__init__(detail)
        self.offset = offset
        self.detail = detail
        self.corrupt = corrupt


class Batch:
    """Messages of one size that were issued together.

    Attributes:
        count: how many are not answered yet.
        size: bytes of each.
        planned: when they were due to be sent.
        sent: when they were sent.
    """

    __slots__ = ("count", "planned", "sent", "size")

    def __init__(self, count: int, size: int, planned: float, sent: float) -> None:
        self.count = count
        self.size = size
        self.planned = planned
        self.sent = sent


class Stream:
    """The bytes of one connection.

    It has two forms. In the general form, ``flight`` holds the messages in flight. The common case has to be fast: a
    connection with a single short message of a fixed size in flight. While nothing of the reply has arrived, such a
    message is kept in ``lone_reply`` and ``lone_sent`` instead, and the engine handles it with one comparison.

    Positions count from the start of the pattern (see `Pattern`), so offset = position - start.

    Attributes:
        number: the connection's number, over all processes.
        issued: the position after the last byte issued for sending.
        unsent: how many bytes before ``issued`` the kernel has not taken yet.
        arrived: the position after the last byte received (undefined while ``lone_reply`` is set).
        partial: bytes of the reply to the first unanswered message that have arrived.
        messages: messages in ``flight``.
        drawn: how many sizes were drawn for messages of varying size.
    """

    __slots__ = (
        "arrived",
        "drawn",
        "flight",
        "issued",
        "lone_reply",
        "lone_sent",
        "messages",
        "number",
        "partial",
        "pattern",
        "start",
        "unsent",
        "verify",
    )

    def __init__(self, number: int, pattern: Pattern, *, verify: bool = True) -> None:
        self.pattern = pattern
        self.verify = verify
        self.flight: deque[Batch] = deque()
        self.restart(number)

    def restart(self, number: int) -> None:
        """Start again at offset 0, as a new connection."""
        self.number = number
        self.start = self.issued = self.arrived = Pattern.start(number)
        self.unsent = self.partial = self.messages = self.drawn = 0
        self.flight.clear()
        self.lone_reply: bytes | None = None
        self.lone_sent = 0.0

    @property
    def offset(self) -> int:
        """How many bytes of replies have arrived (in the general form)."""
        return self.arrived - self.start

    @property
    def oldest(self) -> float | None:
        """When the oldest unanswered message was sent; ``None`` if none is in flight."""
        if self.lone_reply is not None:
            return self.lone_sent
        return self.flight[0].sent if self.flight else None

    @property
    def under_way(self) -> int:
        """How many messages are in flight."""
        return self.messages + (self.lone_reply is not None)

    def issue(self, count: int, size: int, planned: float, now: float) -> None:
        """Issue ``count`` messages of ``size`` bytes for sending; `next_piece` returns their bytes."""
        self.settle()
        self.flight.append(Batch(count, size, planned, now))
        self.messages += count
        self.issued += count * size
        self.unsent += count * size

    def issue_lone(self, size: int, now: float) -> None:
        """Issue one message of at most `CHUNK` bytes, with nothing else in flight."""
        begin = self.issued % PERIOD
        self.issued += size
        self.unsent = size
        self.lone_reply = self.pattern.awaited[begin : begin + size]
        self.lone_sent = now

    def settle(self) -> None:
        """Change from the lone form to the general one."""
        if self.lone_reply is not None:
            size = len(self.lone_reply)
            self.flight.append(Batch(1, size, self.lone_sent, self.lone_sent))
            self.messages = 1
            self.lone_reply = None
            self.arrived = self.issued - size
        elif not self.flight:
            self.arrived = self.issued

    def next_piece(self) -> memoryview:
        """Return the next bytes to send, at most `CHUNK` of those in ``unsent``."""
        begin = (self.issued - self.unsent) % PERIOD
        return memoryview(self.pattern.sent)[begin : begin + min(self.unsent, CHUNK)]

    def receive(self, data: bytes, now: float, recorder: Recorder) -> int:
        """Take at most `CHUNK` received bytes, record each message whose reply they complete, and return their number.

        Raises:
            WrongReplyError: the bytes differ from those expected, or there are more than were sent.
        """
        self.settle()
        due = self.issued - self.unsent - self.arrived
        self._check(data, due)
        self.arrived += len(data)
        got = self.partial + len(data)
        done = 0
        while self.flight:
            batch = self.flight[0]
            whole = min(got // batch.size, batch.count)
            if whole:
                recorder.record(whole, batch.size, batch.planned, batch.sent, now)
                got -= whole * batch.size
                done += whole
            if whole < batch.count:
                batch.count -= whole
                break
            self.flight.popleft()
        self.partial = got
        self.messages -= done
        return done

    def _check(self, data: bytes, due: int) -> None:
        index = self.pattern.difference(data[:due], self.arrived) if self.verify else None
        if index is not None:
            expected = self.pattern.awaited[(self.arrived + index) % PERIOD]
            detail = f"expected byte 0x{expected:02x}, got 0x{data[index]:02x}"
            raise WrongReplyError(self.offset + index, detail, corrupt=True)
        if len(data) > due:
            raise WrongReplyError(self.offset + due, "more bytes were received than sent", corrupt=False)
