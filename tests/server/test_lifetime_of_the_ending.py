"""The lifetime of a connection is enforced although it has been asked to end for another reason."""

from __future__ import annotations

import itertools

import pytest

from server.kit import scripted


@pytest.fixture
def endless():
    """Return a handler whose last words have no end."""
    return scripted(finish=lambda: itertools.repeat(b"x" * 1000))


def test_last_words_without_an_end_are_cut_off(serve, connect, log, endless):
    peer = connect(serve(endless, idle_timeout=0.1, max_lifetime=0.4))
    peer.read_to_break()
    assert log.ended(peer)["reason"] == "idle"


def test_a_drain_without_a_limit_ends_with_the_lifetime(serve, connect, log, endless):
    server = serve(endless, drain_timeout=0, max_lifetime=0.4)
    peer = connect(server)
    peer.exchange(b"served")
    server.stop()
    peer.read_to_break()
    assert log.ended(peer)["reason"] == "drained"
