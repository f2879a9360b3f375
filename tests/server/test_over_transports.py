"""What a peer gets for what it sends: the same over every transport, in every way to serve it."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterator

import pytest

from echoserver import Handler, Server
from echoserver.handlers import Last
from echoserver.net import kernel
from echoserver.observe.metrics import ConnectionState
from server.kit import PATIENCE, scripted, wait_for_state
from server.over_kit import TRANSPORTS, closed_as, everywhere, name_of, read_to_end, reset, served
from server.ways import wait_for, wait_until_settled

CAPITALS = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}
ODD = (1, 2, 3, 5, 31, 4, 997, 6, 1, 1, 61)


class Lines(Handler):
    """Answers each line, once it is complete, in capitals."""

    blocking = False

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> bytes:
        *lines, self._begun = (self._begun + data).split(b"\n")
        return b"".join(line.upper() + b"\n" for line in lines)


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Cut data into pieces of odd lengths."""
    at = 0
    for length in itertools.cycle(ODD):
        if at >= len(data):
            return
        yield data[at : at + length]
        at += length


def is_taken(server: Server) -> bool:
    """Return whether the server has received everything that has arrived."""
    return all(kernel.unread(connection.transport.sock) == 0 for connection in server.connections())


@everywhere
@pytest.mark.parametrize("handler", ["echo", "upper"])
def test_odd_pieces_come_back_exactly(start, wire, log, over, handler):
    """The pieces are those of the wire, so that they end within records too. Each is received alone."""
    data = random.Random(1).randbytes(6_000)
    server = start(handler)
    peer = wire(server)
    if not over.unix:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces_of(b"".join(peer.encrypt(data[at : at + 1_700]) for at in range(0, len(data), 1_700))):
        peer.sock.sendall(piece)
        wait_for(lambda: is_taken(server), "the server does not receive")
    expected = data if handler == "echo" else data.decode("latin-1").translate(CAPITALS).encode("latin-1")
    assert peer.read(len(data)) == expected
    peer.finish()
    assert read_to_end(peer) == b""
    line = closed_as(log, "eof")
    assert (line["bytes_in"], line["bytes_out"]) == (len(data), len(data))
    assert line["peer"] == name_of(over, peer)
    wait_until_settled(server)


@everywhere
def test_a_peer_that_ends_first_gets_the_last_words(start, wire, log):
    server = start(scripted(greet=lambda: b"hi ", finish=lambda: b" bye", blocking=False))
    peer = wire(server)
    assert peer.read(3) == b"hi "
    peer.send(b"there")
    peer.finish()
    assert read_to_end(peer) == b"there bye"
    assert closed_as(log, "eof")["bytes_out"] == 12
    wait_until_settled(server)


@everywhere
def test_a_server_that_ends_first_is_still_sent_to(start, wire, log):
    """The last reply and the end arrive although the peer goes on sending, and nobody reads that."""
    server = start(scripted(feed=lambda data: Last(b"x" * 60_000), blocking=False))
    peer = wire(server)
    peer.send(b"?" * 50_000)
    wait_for_state(server, ConnectionState.LINGERING)
    peer.send(b"and on" * 10_000)
    assert read_to_end(peer) == b"x" * 60_000
    peer.sock.close()
    assert closed_as(log, "finished")["bytes_out"] == 60_000
    wait_until_settled(server)


@everywhere
def test_a_thousand_messages_at_once(start, wire):
    """Each in a record of its own."""
    peer = wire(start(Lines))
    peer.sock.sendall(b"".join(peer.encrypt(b"message %03d\n" % number) for number in range(1_000)))
    assert peer.read(12_000) == b"".join(b"MESSAGE %03d\n" % number for number in range(1_000))


@everywhere
def test_many_messages_in_one_record(start, wire):
    peer = wire(start(Lines))
    peer.send(b"".join(b"message %03d\n" % number for number in range(1_000)))
    assert peer.read(12_000) == b"".join(b"MESSAGE %03d\n" % number for number in range(1_000))


@everywhere
def test_one_message_in_many_records(start, wire):
    peer = wire(start(Lines))
    line = b"so long a line" * 10_000 + b"\n"
    peer.sock.sendall(b"".join(peer.encrypt(line[at : at + 997]) for at in range(0, len(line), 997)))
    assert peer.read(len(line)) == line.upper()


@everywhere
def test_a_reply_in_pieces(start, wire, log):
    """More than the kernel's buffers hold, so that the pieces have to wait for the peer."""

    def pieces(data: bytes) -> Iterator[bytes]:
        for number in range(400):
            yield data * 2_500 + b"%04d" % number

    peer = wire(start(scripted(feed=pieces, blocking=False)), buffer=16_384)
    for message in (b"abcd", b"efgh"):
        peer.send(message)
        assert peer.read(400 * 10_004) == b"".join(pieces(message))
    peer.finish()
    assert read_to_end(peer) == b""
    assert closed_as(log, "eof")["bytes_out"] == 2 * 400 * 10_004


@everywhere
def test_a_handler_that_fails_ends_its_own_connection(start, wire, log, over):
    """What was answered before arrives, and the end of the stream is an orderly one."""

    def fail(data: bytes) -> bytes:
        if data == b"fail":
            raise ValueError("as told")
        return data

    server = start(scripted(feed=fail, blocking=False))
    peer = wire(server)
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    peer.send(b"fail")
    assert read_to_end(peer) == b""
    peer.sock.close()
    closed_as(log, "handler")
    assert served(server, over)


@everywhere
def test_a_peer_that_resets_while_it_is_silent(start, wire, log, over):
    server = start(scripted(blocking=False))
    peer = wire(server)
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    if over.unix:  # it has no reset but that of a socket closed with input unread
        peer.send(b"unread")
        wait_for(lambda: server.stats().bytes_out == 11, "no reply")
    reset(peer)
    closed_as(log, "reset")
    assert served(server, over)


@everywhere
def test_a_peer_that_resets_in_the_middle_of_a_reply(start, wire, log, over):
    server = start(scripted(feed=lambda data: data * 12_000_000 if data == b"?" else data, blocking=False))
    peer = wire(server)
    peer.send(b"?")
    assert peer.read(100_000) == b"?" * 100_000
    reset(peer)
    assert closed_as(log, "reset")["bytes_out"] < 12_000_000
    assert served(server, over)


@everywhere
@pytest.mark.parametrize("limit", ["50kB/s", "10MB/s", "200/s"])
def test_a_rate_limit_delays_and_loses_nothing(start, wire, background, limit):
    """What it makes wait is in the kernel, and with TLS decrypted or not."""
    data = random.Random(2).randbytes(1_000_000 if limit == "10MB/s" else 15_000)
    peer = wire(start(rate_limit=limit, rate_burst="2" if limit == "200/s" else "5kB"))
    records = b"".join(peer.encrypt(data[at : at + 9_000]) for at in range(0, len(data), 9_000))
    sending = background(peer.sock.sendall, records)
    assert peer.read(len(data)) == data
    sending.result(PATIENCE)


@everywhere
@pytest.mark.parametrize("handler", ["echo", "upper"])
def test_megabytes_come_back(start, wire, background, log, handler):
    data = random.Random(3).randbytes(500_000).lower() * 8
    peer = wire(start(handler), buffer=16_384)
    sending = background(
        peer.sock.sendall, b"".join(peer.encrypt(data[at : at + 16_384]) for at in range(0, len(data), 16_384))
    )
    got = peer.read(len(data))
    assert got == (data if handler == "echo" else data.upper())
    sending.result(PATIENCE)
    peer.finish()
    assert read_to_end(peer) == b""
    assert closed_as(log, "eof")["bytes_in"] == len(data)


def test_the_transports_are_all_there():
    assert {(over.unix, bool(over.tls), bool(over.header)) for over in TRANSPORTS} == {
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (False, True, True),
    }
