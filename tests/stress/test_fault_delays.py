"""How late a delay is that a rule of faults asks for."""

from __future__ import annotations

import socket
import statistics
from time import perf_counter

import pytest

from stress.kit import PATIENCE, stop

pytestmark = pytest.mark.stress

DELAY, ROUNDS = 0.05, 200
MEDIAN_LATE = 0.002


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_delay_is_kept(serve, mode, dispatch, figures):
    if mode == "threads" and dispatch == "queue":
        pytest.skip("threads mode dispatches nothing")
    server = serve("--fault", f"delay={DELAY * 1000:.0f}ms", *(("--dispatch", dispatch) if mode == "workers" else ()))
    late = []
    with socket.create_connection(server.address, PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUNDS):
            began = perf_counter()
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            late.append(perf_counter() - began - DELAY)
    assert min(late) >= 0
    figures.hold("lateness of a delay of 50 ms, median (s)", statistics.median(late), most=MEDIAN_LATE)
    figures.note("the same, 95 in 100 are no later (s)", sorted(late)[ROUNDS * 95 // 100])
    assert stop(server)["faults"] == {"delay": ROUNDS}
