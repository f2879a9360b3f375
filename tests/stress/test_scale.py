"""9,000 connections with a thread each: what each costs, and how long all of them take to answer at once."""

from __future__ import annotations

from time import monotonic

import pytest

from stress.kit import Started, resident, stop, thread_count
from support import Throng

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

CONNECTIONS = 9000


def test_nine_thousand_threads_answer_at_once(figures):
    with Started("--max-connections", CONNECTIONS) as server:
        before = resident(server.process.pid)
        with Throng(server.address, CONNECTIONS) as throng:
            began = monotonic()
            throng.exchange_at_once()
            figures.hold("all answered when all send at once, after (s)", monotonic() - began, most=5)
            figures.hold("threads", thread_count(server.process.pid), least=CONNECTIONS)
            each = (resident(server.process.pid) - before) / CONNECTIONS
            figures.hold("resident memory per connection (bytes)", each, most=30_000)
            summary = stop(server)
        assert summary["cut"] == []
        assert summary["replies"] == CONNECTIONS
