"""The built-in handlers and their memory: what is thrown away, and what is sent without end."""

from __future__ import annotations

import socket
from time import monotonic

import pytest

from stress.kit import PATIENCE, resident, stop

pytestmark = pytest.mark.stress

MIB = 1024 * 1024
GROWTH = 8 * MIB
"""What resident memory may grow by, whatever the amount that is moved: the allocator of a thread keeps a few MiB."""


def test_discard_takes_a_gigabyte_in_the_memory_of_a_piece(serve, figures):
    server = serve("--handler", "discard")
    block, blocks = bytes(MIB), 1024
    with socket.create_connection(server.address, PATIENCE) as sock:  # what the first connection loads, stays
        sock.sendall(block)
    server.wait_for("connection ended")
    with socket.create_connection(server.address, PATIENCE) as sock:
        for _ in range(16):
            sock.sendall(block)
        before, began = resident(server.process.pid), monotonic()
        for _ in range(blocks - 16):
            sock.sendall(block)
        figures.note("seconds for a gigabyte", monotonic() - began)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        figures.hold("growth of resident memory (bytes)", resident(server.process.pid) - before, most=GROWTH)
    assert stop(server)["bytes_in"] == (blocks + 1) * MIB


def test_chargen_costs_a_peer_that_does_not_read_one_piece(serve, figures):
    """Fifty peers take a megabyte each, and then nothing more."""
    server = serve("--handler", "chargen", "--write-timeout", "2s")
    peers = []
    try:
        for _ in range(10):
            peers.append(joined(server.address))
        before = resident(server.process.pid)
        for _ in range(50):
            peers.append(joined(server.address))
        server.wait_for("connection ended", reason="stalled")  # by now all have been left waiting
        growth = resident(server.process.pid) - before
        figures.hold("growth of resident memory (bytes)", growth, most=GROWTH + 50 * 65536)
        for _ in peers[1:]:
            server.wait_for("connection ended", reason="stalled")
    finally:
        for sock in peers:
            sock.close()


def joined(address: tuple[str, int]) -> socket.socket:
    """Connect, and read a megabyte."""
    sock = socket.create_connection(address, PATIENCE)
    left = MIB
    while left > 0:
        left -= len(sock.recv(left))
    return sock
