"""The basic service: every byte comes back, in order, to the peer that sent it."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import ExitStack

import pytest

from echoserver import Handler
from server.kit import PATIENCE, Peer, scripted, wait_until_idle

MIB = 1024 * 1024


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 2, 65535, 65536, 65537, MIB, 5 * MIB + 1])
def test_data_of_any_size_comes_back_complete(serve, connect, log, size):
    data = noise(size)
    peer = connect(serve())
    assert peer.swap(data) == data
    line = log.ended(peer)
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("eof", size, size)


def test_a_peer_may_send_everything_before_it_reads(serve, connect):
    data = noise(MIB)
    peer = connect(serve())
    peer.send(data)
    peer.finish()
    assert peer.read_to_end() == data


def test_a_peer_may_exchange_many_messages(serve, connect):
    peer = connect(serve())
    assert peer.exchange(b"hello") == b"hello"
    assert peer.exchange(b"again") == b"again"
    peer.finish()
    assert peer.read_to_end() == b""


def test_single_bytes_come_back_in_order(serve, connect):
    peer = connect(serve())
    for value in range(256):
        assert peer.exchange(bytes([value])) == bytes([value])


def test_pipelined_messages_come_back_in_order(serve, connect):
    peer = connect(serve())
    messages = b"".join(b"%d\n" % number for number in range(20_000))
    assert peer.swap(messages) == messages


def test_upper_changes_only_ascii_letters(serve, connect):
    every_byte = bytes(range(256)) * 300
    peer = connect(serve("upper"))
    assert peer.swap(every_byte) == every_byte.upper()


def test_upper_joins_a_character_that_arrived_in_two_pieces(serve, connect):
    peer = connect(serve("upper", handler_options={"encoding": "utf-8"}))
    first, second = "é".encode()[:1], "é".encode()[1:]
    peer.send(b"a" + first)
    assert peer.read(1) == b"A"  # so the server had received the first half before the second was sent
    peer.send(second)
    assert peer.read(2) == "É".encode()
    peer.send(b"z" + first)
    peer.finish()
    assert peer.read_to_end() == b"Z" + first


def test_a_host_name_is_served_on_all_its_addresses(serve):
    server = serve(host="localhost")
    assert len({port for _, port in server.addresses}) == 1
    for address in server.addresses:
        with Peer(address) as peer:
            assert peer.swap(b"hello") == b"hello"


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@pytest.mark.parametrize(("host", "targets"), [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"])])
def test_ipv6(serve, log, host, targets):
    server = serve(host=host)
    _, port = server.address
    for target in targets:
        with Peer((target, port)) as peer:
            assert peer.swap(b"hello") == b"hello"
    (line,) = log.lines("listening")
    assert (line["address"], line["port"]) == (f"[{host}]:{port}", port)
    for line in log.wait_for("connection ended", count=len(targets)):
        assert line["peer"].startswith("[")


def test_each_of_many_peers_gets_its_own_bytes(serve):
    server = serve()
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(200)]
        for number, peer in enumerate(peers):
            peer.send(b"%06d" % number)
        for number, peer in reversed(list(enumerate(peers))):
            assert peer.read(6) == b"%06d" % number
        assert server.stats().active == 200
    wait_until_idle(server)
    assert server.stats().closed["eof"] == 200


def test_many_peers_send_at_the_same_time(serve, background):
    server = serve()
    start = threading.Barrier(8)

    def talk(seed: int) -> bool:
        data = noise(300_000, seed)
        with Peer(server.address) as peer:
            start.wait(PATIENCE)
            return peer.swap(data) == data

    talks = [background(talk, seed) for seed in range(8)]
    assert all(talk.result(PATIENCE) for talk in talks)


class Counting(Handler):
    """Greets, and at the end replies with how many bytes it was fed; each connection has its own count."""

    blocking = False

    def __init__(self) -> None:
        self.received = 0

    def greet(self) -> bytes:
        return b"hello\n"

    def feed(self, data: bytes) -> bytes:
        self.received += len(data)
        return b""

    def finish(self) -> bytes:
        return b"%d bytes\n" % self.received


def test_each_connection_has_its_own_handler_that_greets_and_finishes(serve, connect, log):
    server = serve(Counting)
    first, second = connect(server), connect(server)
    assert first.read(6) == second.read(6) == b"hello\n"
    first.send(b"12345")
    assert second.swap(b"") == b"0 bytes\n"
    assert first.swap(b"") == b"5 bytes\n"
    assert log.ended(first)["replies"] == 2  # an empty reply is not counted


def test_a_blocking_handler_greets_and_finishes(serve, connect):
    server = serve(scripted(greet=lambda: b"hello ", feed=bytes.upper, finish=lambda: b" bye"))
    peer = connect(server)
    assert peer.read(6) == b"hello "
    assert peer.swap(b"abc") == b"ABC bye"


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("as_what", [bytes, bytearray, memoryview])
def test_a_reply_may_be_any_bytes_like_object(serve, connect, blocking, as_what):
    server = serve(scripted(feed=lambda data: as_what(data * 2), blocking=blocking))
    assert connect(server).swap(b"ab") == b"abab"


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reply_may_be_far_larger_than_the_socket_buffers(serve, connect, blocking):
    reply = noise(12 * MIB)
    server = serve(scripted(feed=lambda _: reply, blocking=blocking))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(len(reply)) == reply
    assert peer.exchange(b"?") == reply[:1]
    peer.finish()
    assert peer.read_to_end() == reply[1:]


@pytest.mark.parametrize("blocking", [True, False])
def test_the_reply_of_finish_may_be_large(serve, connect, blocking):
    words = noise(8 * MIB)
    server = serve(scripted(finish=lambda: words, blocking=blocking))
    assert connect(server).swap(b"ab") == b"ab" + words


def test_a_plain_function_is_a_handler(serve, connect):
    assert connect(serve(lambda data: data[::-1])).swap(b"abc") == b"cba"


def test_an_urgent_byte_comes_back_in_its_place(serve, connect):
    peer = connect(serve())
    peer.send(b"abc")
    peer.sock.send(b"!", socket.MSG_OOB)
    peer.send(b"def")
    peer.finish()
    assert peer.read_to_end() == b"abc!def"
