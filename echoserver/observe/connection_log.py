"""What the log says of a connection: one line when it has ended, and one when its handler is stuck."""

from __future__ import annotations

import errno
import sys
import traceback
from threading import enumerate as enumerate_threads
from time import monotonic
from typing import Any

from structlog.typing import FilteringBoundLogger

from echoserver.observe.metrics import CloseReason


def log_end(log: FilteringBoundLogger, connection: Any) -> None:
    """Log how a connection ended and what it moved."""
    stats, error = connection.stats, connection.error
    facts = {
        "id": connection.number,
        "peer": connection.peer,
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "replies": stats.replies,
        "seconds": round(monotonic() - connection.opened_at, 6),
        "reason": connection.reason.value,
    }
    if isinstance(error, OSError) and connection.reason is CloseReason.RESET:
        facts["error"] = errno.errorcode.get(error.errno or 0, str(error))
    elif error is not None:
        log.error("connection ended", **facts, exc_info=error)
        return
    # A health probe connects and closes without a byte: no news.
    if stats.bytes_in:
        log.info("connection ended", **facts)
    else:
        log.debug("connection ended", **facts)


def log_stuck(log: FilteringBoundLogger, connection: Any, handler: str) -> None:
    """Log which handler keeps its thread for too long, and where in its code that thread is."""
    frame = sys._current_frames().get(connection.served_by)
    name = next((thread.name for thread in enumerate_threads() if thread.ident == connection.served_by), "?")
    log.error(
        "handler stuck",
        id=connection.number,
        peer=connection.peer,
        handler=handler,
        thread=name,
        stack="".join(traceback.format_stack(frame)) if frame else "",
    )
