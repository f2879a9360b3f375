"""Sending bulk data back without copying it, for both drivers."""

from __future__ import annotations

from echoserver.net.splice import Pipe, PipePool
from echoserver.net.transport import Transport
from echoserver.observe.metrics import ConnectionState, ConnectionStats


def splice_through(pipes: PipePool, pipe: Pipe, transport: Transport, stats: ConnectionStats) -> tuple[int, bytes]:
    """Move what has arrived back through a pipe, without waiting, and give the pipe back.

    Parameters
    ----------
    pipes:
        Where the pipe came from.
    pipe:
        An empty pipe.
    transport:
        A plain transport that does not block.
    stats:
        Counts what is moved.

    Returns
    -------
    tuple of int and bytes
        How many bytes had arrived, 0 if none or at the end of input; and those of them that the peer did not take,
        which are still to be sent.

    Raises
    ------
    OSError
        The connection is broken.

    """
    descriptor, left = transport.fileno(), 0
    try:
        left = count = pipe.take(descriptor)
        if not count:
            return 0, b""
        stats.bytes_in += count
        stats.state = ConnectionState.SENDING
        while left:
            sent = pipe.give(descriptor, left)
            stats.bytes_out += sent
            left -= sent
    except BlockingIOError:
        if not left:  # from taking: nothing has arrived after all
            return 0, b""
        rest, left = pipe.empty(left), 0
        return count, rest
    else:
        stats.replies += 1
        return count, b""
    finally:
        pipes.give_back(pipe, empty=not left)
