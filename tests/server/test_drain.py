"""The drain: which bytes are still answered, which connections are cut, and what does not hold it up."""

from __future__ import annotations

import socket
import threading
from time import monotonic

from server.kit import PATIENCE, Gate, Peer, drain_begun, scripted, wait_arrived

MIB = 1024 * 1024


def test_a_hundred_busy_peers_get_every_reply(serve, connect, log, background):
    gate = Gate()
    server = serve(scripted(greet=lambda: b"!", feed=lambda data: gate(data).upper()))
    begun = drain_begun(server)
    peers = [connect(server) for _ in range(100)]
    for peer in peers:
        assert peer.read(1) == b"!"  # so it has been accepted
    for number, peer in enumerate(peers):
        peer.send(b"<first %03d>" % number)
    gate.wait_entered(8)  # as many as either mode serves at once
    for number, peer in enumerate(peers):
        peer.send(b"<second %03d>" % number)
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    for number, peer in enumerate(peers):
        assert peer.read_to_end() == b"<FIRST %03d><SECOND %03d>" % (number, number)
    assert stop.result(PATIENCE) == []
    stats = server.stats()
    assert stats.closed["drained"] == 100
    assert stats.bytes_in == stats.bytes_out - 100 == 100 * (len("<first 000>") + len("<second 000>"))


def test_peers_that_stream_get_a_reply_to_all_that_was_received(serve, background, log):
    """At whatever moment the drain begins, what the server counts as received is what comes back."""
    server = serve("upper")
    moving = threading.Barrier(9)

    def stream() -> tuple[str, bytes]:
        with Peer(server.address) as peer:
            assert peer.exchange(b"a") == b"A"
            moving.wait(PATIENCE)
            return peer.name, peer.flood(b"bcdefgha")

    streams = [background(stream) for _ in range(8)]
    moving.wait(PATIENCE)
    assert server.stop() == []
    for future in streams:
        name, got = future.result(PATIENCE)
        (line,) = log.lines("connection ended", peer=name)
        assert line["reason"] == "drained"
        assert line["bytes_in"] == line["bytes_out"] == 1 + len(got)
        assert got == (b"BCDEFGHA" * (len(got) // 8 + 1))[: len(got)]


def test_an_urgent_byte_that_had_arrived_is_answered_too(serve, connect, background, gate):
    """Out of band, it would end the count of the bytes to be answered."""
    server = serve(gate)
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"1")
    gate.wait_entered()
    peer.send(b"abc")
    peer.sock.send(b"!", socket.MSG_OOB)
    peer.send(b"def")
    wait_arrived(server.connections()[0], len(b"abc!def"))
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert peer.read_to_end() == b"1abc!def"
    assert stop.result(PATIENCE) == []


def test_silent_peers_are_disconnected_at_once(serve, connect, log):
    server = serve(drain_timeout=0)
    peers = [connect(server) for _ in range(20)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    for peer in peers:
        assert peer.read_to_end() == b""
    assert server.stats().closed["drained"] == 20


def test_the_reply_of_finish_is_sent(serve, connect):
    server = serve(scripted(finish=lambda: b"goodbye"))
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    assert peer.read_to_end() == b"goodbye"


def test_a_greeting_under_way_is_still_sent(serve, connect, background):
    gate = Gate()
    server = serve(scripted(greet=lambda: gate(b"hello ")))
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"early")
    gate.wait_entered()
    wait_arrived(server.connections()[0])
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert peer.read_to_end() == b"hello early"
    assert stop.result(PATIENCE) == []


def test_a_peer_that_never_reads_is_cut_at_the_deadline(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)))
    polite, peer = connect(server), connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"  # so the one before it has been accepted too
    begun = monotonic()
    assert server.stop(timeout=0.3) == [f"2 {peer.name}"]
    assert 0.3 <= monotonic() - begun < 1.3
    assert log.ended(peer)["reason"] == "cut"
    assert log.ended(polite)["reason"] == "drained"
    assert polite.read_to_end() == b""
    assert (server.stats().closed["cut"], server.stats().closed["drained"]) == (1, 1)
    assert log.lines("threads did not end") == []


def test_the_configured_drain_timeout_is_the_default(serve, connect):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0.2)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    begun = monotonic()
    assert server.stop() == [f"1 {peer.name}"]
    assert 0.2 <= monotonic() - begun < 1.2


def test_the_write_timeout_holds_during_a_drain_without_limit(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), drain_timeout=0, write_timeout=0.2)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    assert server.stop() == []
    assert log.ended(peer)["reason"] == "stalled"


def test_a_peer_that_never_stops_sending_does_not_hold_up_the_drain(serve, connect, background, log):
    server = serve(lambda _: b"", drain_timeout=0)
    peer = connect(server)
    done = threading.Event()

    def flood() -> None:
        try:
            while not done.is_set():
                peer.send(b"x" * 65536)
        except ConnectionError:
            pass

    flooding = background(flood)
    while not server.stats().bytes_in:  # no event tells of it; the flood makes it true
        pass
    begun = monotonic()
    try:
        assert server.stop() == []
        assert monotonic() - begun < 5
    finally:
        done.set()
    flooding.result(PATIENCE)
    assert log.ended(peer)["reason"] == "drained"


def test_a_peer_that_has_left_does_not_hold_up_the_drain(serve, connect, background, gate):
    server = serve(gate)
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"hello")
    gate.wait_entered()
    peer.close()
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    asked = monotonic()
    gate.open()
    assert stop.result(PATIENCE) == []
    assert monotonic() - asked < 1.5


def test_peers_that_connect_during_the_stop_do_not_hold_it_up(serve, background):
    server = serve(drain_timeout=0)

    def connect_again(begun: threading.Event) -> int:
        connected = 0
        try:
            while True:
                with Peer(server.address) as peer:
                    peer.send(b"?")
                    connected += 1
                    begun.set()
        except ConnectionError:
            return connected

    begun = [threading.Event(), threading.Event()]
    connecting = [background(connect_again, event) for event in begun]
    assert all(event.wait(PATIENCE) for event in begun)
    while server.stats().accepted < 20:
        pass
    assert server.stop() == []
    for future in connecting:
        assert future.result(PATIENCE)
    stats = server.stats()
    assert stats.accepted == sum(stats.closed.values())
