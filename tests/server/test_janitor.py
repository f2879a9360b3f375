"""The janitor's thread: it does everything in time, whatever else it is given."""

from __future__ import annotations

import threading

from echoserver.clock import Deadline
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.limits import Limits
from server.janitor_kit import LIMITS_OFF, FakeConnection, make_janitor
from server.kit import PATIENCE


def test_a_stream_of_arrivals_does_not_delay_the_limits(running):
    """Peers whose handler fails could otherwise, if they came fast enough, switch all time limits off."""
    silent = FakeConnection(0)
    lifecycle = running(Limits(idle=0.05, write=0, handler=0), silent)
    first = FakeConnection(1, state=ConnectionState.LINGERING)
    first.dropped = lambda _: -1
    lifecycle.lingering.put(first)
    arrivals, finalised = 0, None
    while finalised is None and arrivals < 2_000_000:
        if lifecycle.lingering.qsize() < 100:  # never empty, and never far ahead
            late = FakeConnection(2 + arrivals, state=ConnectionState.LINGERING)
            late.bytes_pending = 1
            lifecycle.lingering.put(late)
            arrivals += 1
        if not lifecycle.finalised.empty():
            finalised = lifecycle.finalised.get()
    assert finalised is first
    assert not silent.ended or silent.ended[0] is CloseReason.IDLE


def test_the_mode_is_maintained_although_no_limit_is_set(running):
    lifecycle = running()
    for _ in range(2):
        lifecycle.maintained.get(timeout=PATIENCE)


def test_a_running_janitor_ends_idle_connections(running):
    ended = threading.Event()

    class Ending(FakeConnection):
        def end(self, reason: CloseReason) -> bool:
            ended.set()
            return super().end(reason)

    running(Limits(idle=0.05, write=0, handler=0), Ending())
    assert ended.wait(PATIENCE)


def test_a_stop_before_the_start_leaves_nothing():
    janitor, _ = make_janitor(LIMITS_OFF)
    assert janitor.stop(Deadline(PATIENCE)) == []
