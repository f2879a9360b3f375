"""A transport around another one, which a subclass changes in part."""

from __future__ import annotations

from echoserver.net.transport import Transport


class WrappedTransport:
    """Leaves all that is not about moving bytes to another transport.

    Parameters
    ----------
    inner:
        The other one.

    """

    __slots__ = ("_inner",)

    can_splice = False

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    @property
    def truncated(self) -> bool:
        """See `Transport`."""
        return self._inner.truncated

    def fileno(self) -> int:
        """See `Transport`."""
        return self._inner.fileno()

    def local(self) -> str:
        """See `Transport`."""
        return self._inner.local()

    def pending(self) -> int:
        """See `Transport`."""
        return self._inner.pending()

    def unread(self) -> int:
        """See `Transport`."""
        return self._inner.unread()

    def waiting(self) -> int:
        """See `Transport`."""
        return self._inner.waiting()

    def unacknowledged(self) -> int:
        """See `Transport`."""
        return self._inner.unacknowledged()

    def taken(self, sent: int) -> int:
        """See `Transport`."""
        return self._inner.taken(sent)

    def set_blocking(self, blocking: bool) -> None:
        """See `Transport`."""
        self._inner.set_blocking(blocking)

    def discard(self, limit: int) -> int:
        """See `Transport`."""
        return self._inner.discard(limit)

    def shut_reading(self) -> None:
        """See `Transport`."""
        self._inner.shut_reading()

    def send_end(self) -> None:
        """See `Transport`."""
        self._inner.send_end()

    def shut_writing(self) -> None:
        """See `Transport`."""
        self._inner.shut_writing()

    def shut_both(self) -> None:
        """See `Transport`."""
        self._inner.shut_both()

    def reset_on_close(self) -> None:
        """See `Transport`."""
        self._inner.reset_on_close()

    def close(self) -> None:
        """See `Transport`."""
        self._inner.close()

    def forget(self) -> None:
        """See `Transport`."""
        self._inner.forget()
