"""A transport around another, of which it changes nothing."""

from __future__ import annotations

from echoserver.net.transport import Transport


class Around:
    """What a transport that changes some of another's methods has in common with it. See `Transport` for each.

    Parameters
    ----------
    inner:
        The other transport.

    """

    __slots__ = ("_inner",)

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

    def unacknowledged(self) -> int:
        """See `Transport`."""
        return self._inner.unacknowledged()

    def taken(self, sent: int) -> int:
        """See `Transport`."""
        return self._inner.taken(sent)

    def discard(self, limit: int) -> int:
        """See `Transport`."""
        return self._inner.discard(limit)

    def reset_on_close(self) -> None:
        """See `Transport`."""
        self._inner.reset_on_close()

    def close(self) -> None:
        """See `Transport`."""
        self._inner.close()

    def forget(self) -> None:
        """See `Transport`."""
        self._inner.forget()
