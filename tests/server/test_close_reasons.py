"""Every way in which the peer or a stop ends a connection, and what is logged of it."""

from __future__ import annotations

import pytest

from echoserver.observe.metrics import CloseReason
from server.kit import PATIENCE, Peer, scripted, serves_on, wait_until_idle

MIB = 1024 * 1024


def test_eof_is_logged_once_with_its_counts(serve, connect, log):
    server = serve()
    peer = connect(server)
    assert peer.swap(b"hello") == b"hello"
    line = log.ended(peer)
    assert line["level"] == "info"
    assert line["id"] == 1
    assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (5, 5, "eof")
    assert 0 <= line["seconds"] < PATIENCE
    wait_until_idle(server)
    assert len(log.lines("connection ended")) == 1


def test_a_probe_without_a_byte_is_logged_at_debug_only(serve, connect, log):
    server = serve()
    peer = connect(server)
    peer.close()
    (line,) = log.wait_for("connection ended")
    assert (line["level"], line["reason"], line["bytes_in"]) == ("debug", "eof", 0)


def test_a_peer_that_resets_while_it_is_silent(serve, connect, log):
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    peer.reset()
    line = log.ended(peer)
    assert (line["reason"], line["error"], line["level"]) == ("reset", "ECONNRESET", "info")
    assert serves_on(connect, server)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_that_resets_in_the_middle_of_a_reply(serve, connect, log, blocking):
    server = serve(scripted(feed=lambda data: data * (12 * MIB) if data == b"?" else data, blocking=blocking))
    peer = connect(server)
    peer.send(b"?")
    peer.read(100_000)
    peer.reset()
    line = log.ended(peer)
    assert line["reason"] == "reset"
    assert line["error"] in ("ECONNRESET", "EPIPE")
    assert serves_on(connect, server)


def test_a_peer_that_resets_while_the_handler_runs(serve, connect, log, gate):
    server = serve(gate)
    peer = connect(server)
    peer.send(b"hello")
    gate.wait_entered()
    peer.reset()
    gate.open()
    assert log.ended(peer)["reason"] == "reset"
    assert serves_on(connect, server)


def test_an_open_connection_is_drained_at_the_stop(serve, connect, log):
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    assert peer.read_to_end() == b""
    assert log.ended(peer)["reason"] == "drained"


def test_a_connection_that_takes_too_long_to_drain_is_cut(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    assert server.stop(timeout=0.1) == [f"1 {peer.name}"]
    assert log.ended(peer)["reason"] == "cut"
    assert server.stats().closed["cut"] == 1
    assert len(peer.read_to_break()) < 12 * MIB


@pytest.mark.parametrize("handler", ["upper", lambda data: data.upper()], ids=["inline", "queued"])
def test_no_reply_is_lost_at_whatever_moment_the_end_comes(serve, background, log, handler):
    """The janitor and the drain may ask a connection to end at any moment of an exchange."""
    server = serve(handler)

    def talk() -> tuple[str, int]:
        with Peer(server.address) as peer:
            got = 0
            try:
                while piece := (peer.send(b"x" * 100), peer.sock.recv(65536))[1]:
                    assert piece.strip(b"X") == b""
                    got += len(piece)
            except ConnectionError:
                pass
            return peer.name, got

    for reason in (CloseReason.IDLE, CloseReason.DRAINED):
        talks = [background(talk) for _ in range(8)]
        ended = 0
        while ended < len(talks):
            for connection in server.connections():
                if connection.stats.replies > ended:  # each a little later than the previous one
                    ended += connection.end(reason)
        for name, got in [future.result(PATIENCE) for future in talks]:
            (line,) = log.wait_for("connection ended", peer=name)
            assert line["reason"] == reason
            assert line["bytes_in"] == line["bytes_out"] == got
