"""A thousand connections that end at random moments and in random ways, and what is left of them afterwards."""

from __future__ import annotations

import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from server.kit import Peer
from stress.kit import descriptor_count, eventually, resident, stats_of, thread_count

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]


def one_round(address: tuple[str, int], seed: int) -> int:
    """Exchange data and leave at a random moment in a random way; return how many bytes came, all of them correct."""
    chance = random.Random(seed)
    payload = chance.randbytes(chance.choice([0, 1, 100, 5000, 100_000, 1_000_000]))
    stay = chance.randrange(len(payload) + 2)
    received = bytearray()
    with Peer(address) as peer:
        sender = threading.Thread(target=send_until_closed, args=(peer.sock, payload))
        sender.start()
        try:
            while len(received) < stay and (data := peer.sock.recv(min(65536, stay - len(received)))):
                received += data
        except TimeoutError:
            assert stay > len(payload), "a reply never came"
        except ConnectionError:
            pass
        if chance.random() < 0.7:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Releases the sender. The server sees a half-close, then the rest.
        try:
            peer.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sender.join()
    assert payload.startswith(received)
    return len(received)


def send_until_closed(sock: socket.socket, payload: bytes) -> None:
    try:
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def many_rounds(address: tuple[str, int], count: int, first: int) -> int:
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(partial(one_round, address), range(first, first + count)))


def test_a_thousand_rounds_that_end_at_random_moments(serve, figures):
    server = serve()
    pid = server.process.pid
    many_rounds(server.address, 200, 10_000)  # lets memory and threads reach their usual level
    rested = eventually(lambda: stats_of(server)["active"] == 0 and thread_count(pid) <= 14)
    before = (descriptor_count(pid), thread_count(pid), resident(pid))
    figures.note("bytes verified", many_rounds(server.address, 1000, 0))
    assert eventually(lambda: stats_of(server)["active"] == 0)
    stats = stats_of(server)
    lost = stats["accepted"] - stats["active"] - sum(stats["closed"].values())
    figures.hold("accepted - active - closed", lost, least=0, most=0)
    assert stats["accepted"] == 1200
    assert rested
    eventually(lambda: thread_count(pid) <= before[1])  # idle threads wait for five seconds
    figures.hold("descriptors more than before", descriptor_count(pid) - before[0], most=0)
    figures.hold("threads more than before", thread_count(pid) - before[1], most=0)
    figures.hold("resident memory, relative to before (%)", 100 * resident(pid) / before[2], most=110)
