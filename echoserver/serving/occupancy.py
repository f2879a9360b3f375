"""What a connection knows of the place that it takes up."""

from __future__ import annotations

from typing import Protocol

from echoserver.observe.metrics import CloseReason


class Occupancy(Protocol):
    """What a connection occupies on the server: a `Lease` (`admission.py`)."""

    def enter_proxied_host(self, host: str) -> bool:
        """Count a connection of the host that a proxy has named; return whether it may have one more."""

    def fold(self, reason: CloseReason) -> bool:
        """Count the end of the connection; return whether this call did, and not an earlier one."""

    def release(self) -> None:
        """Give everything back."""
