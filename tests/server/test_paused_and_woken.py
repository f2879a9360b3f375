"""A connection that is woken while it pauses for its rate limit is served by one thread at a time."""

from __future__ import annotations

from contextlib import closing
from time import monotonic
from types import SimpleNamespace

from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.rate import TokenBucket
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.ready import ReadyQueue
from server.connection_kit import ANY_CORE, make_connection
from server.kit import LogLines


def test_a_pause_that_ends_while_a_worker_has_the_connection(pair):
    """The poller learns of the pause after it has woken the connection and queued it again.

    The worker gives the connection back right after the poller has looked at what was given back, and before it looks
    at what was woken. When the pause ends, no second worker may get the connection.
    """
    served, _peer = pair
    bucket = TokenBucket(1, 1, of_bytes=False, now=monotonic())
    connection = make_connection(served, lambda data: data, bucket=bucket)
    driver, buffer = NonBlockingDriver(connection), ReceiveBuffer()
    ended = []
    lifecycle = SimpleNamespace(begin_close=ended.append)
    ready = ReadyQueue("fifo", 10, LogLines().logger)
    poller = Poller(ready, limited=True, lifecycle=lifecycle, affinity=ANY_CORE)
    poller.open()
    with closing(poller):
        poller._drivers[connection.transport.fileno()] = driver
        driver.queued, driver.resume_at = True, monotonic()
        poller.give_back(driver, Interest.PAUSE, buffer)
        connection.end(CloseReason.DRAINED)
        poller._resume(connection)
        assert ready.depth == 1
        poller._take_messages()
        poller._take_due(poller._timers)
        assert ready.depth == 1, "two workers would serve it at once"
        # The one that has it decides what becomes of it.
        taken, _ = ready.get()
        assert taken is driver
        poller.give_back(driver, Interest.NOTHING, buffer)
        poller._take_messages()
        assert ended == [connection]
        poller._take_due(poller._timers)
        assert (ready.depth, ended) == (0, [connection])
