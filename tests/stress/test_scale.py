"""As many threads as connections: 9,000 of them, what each costs, and how long all take to answer at once."""

from __future__ import annotations

import resource
import select
import socket
from contextlib import ExitStack
from time import monotonic

import pytest

from stress.kit import Started, resident, stop, thread_count

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]

CONNECTIONS = 9000


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS + 200:
        pytest.fail(
            f"{CONNECTIONS} connections need more open files than the hard limit of {hard}: raise it (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nine_thousand_threads_answer_at_once(many_files, figures):
    with Started("--max-connections", CONNECTIONS) as server, ExitStack() as open_peers, select.epoll() as poll:
        before = resident(server.process.pid)
        peers = {}
        for _ in range(CONNECTIONS):
            peer = open_peers.enter_context(socket.create_connection(server.address, 20))
            poll.register(peer, select.EPOLLIN)
            peers[peer.fileno()] = peer
        began = monotonic()
        for peer in peers.values():
            peer.send(b"now")
        waiting = set(peers)
        while waiting:
            events = poll.poll(20)
            assert events, f"{len(waiting)} have no answer"
            for descriptor, _ in events:
                assert peers[descriptor].recv(10) == b"now"
                waiting.discard(descriptor)
        figures.hold("all answered when each sends at once, after (s)", monotonic() - began, most=5)
        figures.hold("threads", thread_count(server.process.pid), least=CONNECTIONS)
        each = (resident(server.process.pid) - before) / CONNECTIONS
        figures.hold("resident memory of a connection (bytes)", each, most=30_000)
        summary = stop(server)
        assert summary["cut"] == []
        assert summary["replies"] == CONNECTIONS
