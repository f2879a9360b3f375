"""Why a connection or the server is as it is: each sentence is provoked for real."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from admin.kit import Administered
from server.kit import PATIENCE, Peer, scripted
from server.ways import wait_for


def why(admin: Administered, name: str | None = None) -> list[str]:
    path = "/api/v1/why" if name is None else f"/api/v1/connections/{name}/why"
    status, answer, _ = admin.ask("GET", path)
    if status == 404:  # it has not been accepted yet
        return []
    assert status == 200, answer
    sentences: list[str] = answer["sentences"]
    return sentences


def says(admin: Administered, pattern: str, name: str | None = None) -> None:
    """Wait until one of the sentences is this, from its beginning to its end."""
    said: list[str] = []

    def found() -> bool:
        said[:] = why(admin, name)
        return any(re.fullmatch(pattern, sentence) for sentence in said)

    wait_for(found, f"no sentence is {pattern!r}; the last ones were {said}")


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


def test_nothing_is_wrong(administer, connect):
    admin = administer()
    assert why(admin) == ["nothing is wrong: 0 of 1,024 connections are open, and nobody waits"]
    connect(admin).exchange(b"hello")
    assert why(admin) == ["nothing is wrong: 1 of 1,024 connections are open, and nobody waits"]


def test_a_peer_that_sends_nothing(administer, connect):
    admin = administer(idle_timeout=300)
    connect(admin).exchange(b"hello")
    says(
        admin,
        r"peer 127\.0\.0\.1:\d+ has sent nothing for \d\.\d s; ends as idle in \d min( \d+ s)? \(idle_timeout\)",
        "1",
    )


def test_a_peer_without_limits(administer, connect):
    admin = administer(idle_timeout=0)
    connect(admin).exchange(b"hello")
    says(admin, r"peer .* has sent nothing for \d\.\d s; no limit will end it", "1")


def test_a_peer_that_takes_nothing(administer):
    admin = administer(handler="chargen", write_timeout=3600)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(admin.server.address)
        says(
            admin,
            r"peer .* takes nothing: [\d,]+ B unacknowledged for \d\.\d s, its window is [\d,]+; "
            r"ends as stalled in (1 h 0 min|59 min( \d+ s)?) \(write_timeout\)",
            "1",
        )


def test_a_handler_that_keeps_its_thread(administer, connect, gate):
    def stand_still(data: bytes) -> bytes:
        gate.wait(PATIENCE)
        return data

    admin = administer(handler=scripted(feed=stand_still, blocking=True), workers=1)
    peers = [connect(admin) for _ in range(3)]
    for peer in peers:
        peer.send(b"hello")
    wait_for(lambda: len(admin.server.connections()) == 3, "not all are accepted")
    thread = r"(worker-1|conn-\d)"
    says(admin, rf"{thread} has been in test_why\.py:\d+ in stand_still for \d\.\d s; ends as killed in \d+ s .*", "1")
    says(admin, rf"{thread} has been in test_why\.py:\d+ in stand_still for [1-9]\.\d s for connection 1")
    _, one, _ = admin.ask("GET", "/api/v1/connections/1")
    assert any("in stand_still" in line for line in one["stack"])
    if admin.server.config.mode == "workers":
        says(
            admin,
            r"2 connections wait for a worker, and 1 of 1 are busy; "
            r"--workers 2 or a handler that doesn't block would help",
        )
        says(admin, r"it has waited for a worker for \d\.\d s; 2 connections wait, and 1 workers are busy; .*", "2")
    gate.set()
    for peer in peers:
        assert peer.read(5) == b"hello"


def test_a_connection_that_pauses_for_its_rate(administer, connect):
    admin = administer(rate_limit="1/s", rate_burst="1")
    peer = connect(admin)
    peer.send(b"1")
    assert peer.read(1) == b"1"
    peer.send(b"2")
    says(admin, r"the server has paused for its rate limit since \d\.\d s.*", "1")


def test_a_connection_that_meets_a_fault(administer, connect):
    admin = administer(fault=["delay=20s"])
    peer = connect(admin)
    peer.send(b"hello")
    says(admin, r"the server has paused for a fault since \d\.\d s.*", "1")


def test_a_connection_without_its_proxy_header(administer):
    admin = administer(port=9000, listen=["tcp://127.0.0.1:0?proxy=require"], proxy_trusted=["127.0.0.1"])
    with Peer(admin.server.address) as peer:
        peer.send(b"PROXY ")
        says(admin, r"peer .* has not completed its PROXY header; ends as proxy in \d\.\d s \(proxy_timeout\)", "1")


def test_peers_that_wait_for_a_place(administer, connect):
    admin = administer(max_connections=2)
    for _ in range(2):
        connect(admin).exchange(b"in")
    for _ in range(3):
        connect(admin)
    says(admin, r"3 peers wait in the kernel: all 2 places are taken, the oldest idle one for \d\.\d s")


def test_a_connection_that_lingers(administer, connect):
    admin = administer(handler="daytime")
    peer = connect(admin)
    assert peer.read(1)
    says(admin, r"it has ended, and what peer .* still sends is received and dropped for up to two seconds.*", "1")


def test_a_server_that_drains(administer, connect):
    admin = administer()
    connect(admin).exchange(b"hello")
    admin.draining = True
    assert why(admin)[0] == "the server drains: 1 connections are open, and no peer is accepted"
