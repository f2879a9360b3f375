"""The connection behind the prompt: the thread that receives on it, and its state."""

from __future__ import annotations

import select
import threading
import time
from typing import TYPE_CHECKING

from echoclient.display import HexView, TextView, View, format_bytes, format_milliseconds
from echoclient.durations import format_duration
from echoclient.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from echoclient.session import Session

# How long, in seconds, the beginning of a line is held back for its end. TCP may split lines anywhere; nobody notices
# the delay.
_HOLD_BACK = 0.05


class Conversation:
    """A session on which a thread of this object receives, and the thread that made the object sends."""

    def __init__(
        self, session: Session, show: Callable[[str], None], notice: Callable[[str], None], *, as_hex: bool = False
    ) -> None:
        """Start to receive.

        Args:
            session: a fresh connection; `close` closes it.
            show: called in the receiving thread with whole lines. While it blocks, TCP slows the server down.
            notice: called in the receiving thread with one line that says how the connection ended.
            as_hex: show bytes in hexadecimal instead of text.
        """
        self.session = session
        self._show = show
        self._notice = notice
        # Guards everything below except the thread; notified after each receive and at the end.
        self._changed = threading.Condition()
        self._view: View = HexView() if as_hex else TextView()
        self._shown = 0  # bytes received and shown, without the beginning of a line that is held back
        self._sent_at: float | None = None  # when the oldest unanswered bytes were sent
        self._arrived_at = 0.0  # when the latest bytes arrived
        self._round_trip: float | None = None  # of the last send, to the first byte of the reply
        self._half_closed = False
        self._leaving = False
        self._failure: ClientError | None = None
        self._sending = False  # a send is in progress, and its bytes are not all counted
        self._ended = False
        self._announced = False
        self._receiver = threading.Thread(target=self._receive, name=f"receive-{session.peer}", daemon=True)
        self._receiver.start()

    def _receive(self) -> None:
        try:
            while self._receive_once():
                pass
        except ClientError as error:
            with self._changed:
                self._failure = self._failure or error
        with self._changed:
            self._ended = True
            rest = self._view.flush() if self._view.holds_back else ""
        # Wakes a thread that is blocked in a send; it then counts what it sent.
        self.session.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: not self._sending)
            announce = not self._leaving
            how = self._failure or (
                "the server has finished" if self._half_closed else "the server closed the connection"
            )
        if rest:
            self._show(rest)
        if announce:
            self._notice(f"{how}; {self.session.traffic()}")
        with self._changed:
            self._announced = True
            self._changed.notify_all()

    def _receive_once(self) -> bool:
        """Receive and show once; return whether more may follow."""
        # Only this thread feeds the view, so what it holds back can't grow between the check and the flush.
        if self._holds_back() and not self._arrives():
            with self._changed:
                lines, more = self._view.flush(), True
        else:
            try:
                data = self.session.receive()
            except BlockingIOError:  # only a part of a TLS record
                return True
            now = time.monotonic()
            with self._changed:
                lines, more = self._view.feed(data) if data else "", bool(data)
                if data:
                    self._arrived_at = now
                if data and self._sent_at is not None:
                    self._round_trip, self._sent_at = now - self._sent_at, None
        if lines:
            self._show(lines)
        with self._changed:
            if not self._view.holds_back:
                self._shown = self.session.bytes_in
            self._changed.notify_all()
        return more

    def _arrives(self) -> bool:
        """Wait for a moment, and return whether there is something to receive."""
        return self.session.pending or bool(select.select([self.session.socket], [], [], _HOLD_BACK)[0])

    def _holds_back(self) -> bool:
        with self._changed:
            return self._view.holds_back

    @property
    def state(self) -> str:
        """``open``, ``half-closed`` (by us) or ``closed``."""
        with self._changed:
            return "closed" if self._ended else "half-closed" if self._half_closed else "open"

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send the pieces one after another; a failure is reported as the end of the connection.

        Raises:
            ClientError: the connection is lost.
        """
        try:
            for piece in pieces:
                try:
                    with self._changed:
                        self._sent_at = self._sent_at or time.monotonic()
                        self._sending = True
                    self.session.send(piece)
                finally:
                    with self._changed:
                        self._sending = False
                        self._changed.notify_all()
        except ClientError as error:
            with self._changed:
                self._failure = self._failure or error
            self.session.shutdown()
            self._receiver.join()
            raise

    def settle(self, limit: float) -> None:
        """Wait until as many bytes are shown as were sent, the connection has ended, or ``limit`` seconds passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._announced or self._shown >= self.session.bytes_out, limit)

    def time(self, data: bytes, limit: float | None) -> str:
        """Send ``data``, wait up to ``limit`` seconds for as many bytes, and return how long that took as a line."""
        before, started = self.session.bytes_in, time.monotonic()
        self._forget_round_trip()
        self.send([data])
        with self._changed:
            complete = self._changed.wait_for(lambda: self._ended or self.session.bytes_in - before >= len(data), limit)
            first, last = self._round_trip, self._arrived_at - started
            came = self.session.bytes_in - before
        if first is None:
            return "no reply" if complete or limit is None else f"no reply within {format_duration(limit)}"
        return (
            f"first byte after {format_milliseconds(first)}, "
            f"{came} of {len(data)} bytes after {format_milliseconds(last)}"
        )

    def _forget_round_trip(self) -> None:
        with self._changed:
            self._sent_at = self._round_trip = None

    def half_close(self) -> None:
        """Tell the server that nothing more will be sent."""
        with self._changed:
            self._half_closed = True
        self.session.half_close()

    def set_view(self, *, as_hex: bool) -> None:
        """Show what arrives from now on in hexadecimal, or as text."""
        with self._changed:
            rest = self._view.flush() if self._view.holds_back else ""
            self._view = HexView(self.session.bytes_in) if as_hex else TextView()
        if rest:
            self._show(rest)

    def finish(self, limit: float | None) -> bool:
        """Half-close, and wait for the server to end its side; return whether it did within ``limit`` seconds."""
        with self._changed:
            self._leaving = True
        self.half_close()
        with self._changed:
            return self._changed.wait_for(lambda: self._announced, limit)

    def close(self) -> None:
        """End the connection and the thread at once, without a notice."""
        with self._changed:
            self._leaving = True
        self.session.shutdown()
        self._receiver.join()
        self.session.close()

    def status(self) -> list[str]:
        """Return what the bottom line shows, the most important first."""
        with self._changed:
            round_trip = self._round_trip
        return [
            self.state,
            self.session.peer,
            f"rtt {'-' if round_trip is None else format_milliseconds(round_trip)}",
            f"out {format_bytes(self.session.bytes_out)}",
            f"in {format_bytes(self.session.bytes_in)}",
        ]
