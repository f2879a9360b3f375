"""What a connection goes through before its handler is made: a PROXY header (`proxied.py`), a TLS handshake.

It happens in the serving thread, like everything else that waits for a peer. A connection that needs none of it has no
`Opening`, and pays nothing. This module holds what all openings share.
"""

from __future__ import annotations

import math
from time import monotonic

from echoserver.errors import OpeningError
from echoserver.observe.metrics import CloseReason
from echoserver.serving.connection import Connection


def deadline(timeout: float) -> float:
    """Return when a time limit that begins now is over, on the monotonic clock; 0 is off."""
    return monotonic() + timeout if timeout else math.inf


class RefusedError(Exception):
    """The connection must end; it knows why."""


def refused(connection: Connection, why: str, reason: CloseReason = CloseReason.PROXY) -> RefusedError:
    """Record why a connection must end, and return what to raise."""
    connection.failed(reason, OpeningError(why))  # this error is never raised, so it refers to no frames
    return RefusedError()
