"""Thousands of peers that come or go at once: none has to repeat its request, and those that come next are answered."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic

import pytest

from stress.kit import PATIENCE, stop
from support import Throng

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

BURST = 4000
FLOOD, NEW = 5000, 1000
# RFC 6298: a request that was dropped is repeated after a second, so whoever is connected by then was not dropped.
FIRST_REPETITION = 1.0
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


def test_a_burst_of_peers_waits_in_the_queue(serve, figures):
    assert int(SOMAXCONN.read_text()) >= BURST, f"the queue is too short: sysctl -w net.core.somaxconn={BURST}"
    server = serve("--max-connections", BURST)
    server.send_signal(signal.SIGSTOP)
    try:
        throng = Throng(server.address, BURST, at_once=True)
    except BaseException:
        server.send_signal(signal.SIGCONT)
        raise
    with throng:
        connected = throng.wait_connected(0.9 * FIRST_REPETITION)
        server.send_signal(signal.SIGCONT)
        figures.hold("of 4,000 peers, connected while the server was stopped", connected, least=BURST)
        began = monotonic()
        throng.exchange_at_once()
        figures.hold("all answered after it continued (s)", monotonic() - began, most=5)
    assert stop(server)["replies"] == BURST


def test_new_peers_right_after_a_flood_has_ended(serve, figures):
    server = serve("--max-connections", FLOOD + NEW)
    with Throng(server.address, FLOOD) as flood:
        flood.exchange_at_once()
    began = monotonic()
    with Throng(server.address, NEW, at_once=True) as throng:
        figures.hold("connected", throng.wait_connected(PATIENCE), least=NEW)
        throng.exchange_at_once()
        figures.hold("new peers answered after (s)", monotonic() - began, most=4)
    assert stop(server)["replies"] == FLOOD + NEW
