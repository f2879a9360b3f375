"""The longest lifetime of a connection: when it is over, what had arrived is still answered."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection
from server.kit import PATIENCE, wait_arrived, wait_for_state, wait_until_idle

LIFETIME = 3600


@pytest.fixture
def mode():
    return "threads"


def expire(server) -> None:
    """Have the lifetime of the only connection be over now."""
    (connection,) = server.connections()
    connection.opened_at -= LIFETIME


def test_a_busy_connection_ends_with_every_reply_sent(serve, connect, way, log):
    server = serve(max_lifetime=0.4, **way)
    began, got = monotonic(), 0  # before its lifetime begins
    peer = connect(server)
    try:
        while peer.exchange(b"x") == b"x":
            got += 1
    except (AssertionError, ConnectionError):
        pass
    assert 0.4 <= monotonic() - began < 1.4
    line = log.ended(peer)
    assert line["reason"] == "expired"
    assert line["bytes_in"] == line["bytes_out"] in (got, got + 1)
    wait_until_idle(server)
    assert server.stats().closed["expired"] == 1


def test_a_silent_connection_ends_in_an_orderly_way(serve, connect, way):
    server = serve(max_lifetime=LIFETIME, **way)
    peer = connect(server)
    assert peer.exchange(b"x") == b"x"
    expire(server)
    assert peer.read_to_end() == b""


def test_what_arrives_while_the_handler_runs_is_answered_before_the_end(serve, connect, gate, log, monkeypatch):
    server = serve(gate, max_lifetime=LIFETIME)
    peer = connect(server)
    peer.send(b"one")
    gate.wait_entered()
    peer.send(b"two")
    (connection,) = server.connections()
    wait_arrived(connection, len(b"two"))
    asked, end = threading.Event(), Connection.end

    def end_and_say_so(connection: Connection, reason: CloseReason, *, abruptly: bool = False) -> bool:
        outcome = end(connection, reason, abruptly=abruptly)
        asked.set()
        return outcome

    monkeypatch.setattr(Connection, "end", end_and_say_so)
    expire(server)
    assert asked.wait(PATIENCE)
    gate.open()
    assert peer.read_to_break() == b"onetwo"
    assert log.ended(peer)["reason"] == "expired"


def test_a_paused_connection_ends(serve, connect, way, log, dry):
    server = serve(max_lifetime=LIFETIME, rate_limit="1B/s", rate_burst="1B", **way)
    peer = connect(server)
    peer.send(b"123456")
    wait_for_state(server, ConnectionState.PAUSED)
    expire(server)
    assert peer.read_to_end() == b"123456"  # without five pauses in between
    assert log.ended(peer)["reason"] == "expired"
