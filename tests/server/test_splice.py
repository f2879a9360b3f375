"""Bulk data that is moved without copying it: complete, and to the right peer, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import random
import socket

import pytest

import echoserver.net.splice
from echoserver.handlers import HandlerSpec, find_handler
from echoserver.handlers.echo import Echo
from echoserver.net.buffer import SMALL_BYTES
from echoserver.net.splice import MOVE_BYTES, PipePool, can_splice
from server.kit import PATIENCE, Peer, drain_begun, scripted, wait_until_idle

pytestmark = pytest.mark.skipif(not can_splice(), reason="needs splice(2)")

MIB = 1024 * 1024


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def moved(monkeypatch) -> list[int]:
    """Return how many bytes each move took, which also proves that there were moves."""
    sizes: list[int] = []
    take = echoserver.net.splice.Pipe.take

    def noted(pipe: echoserver.net.splice.Pipe, descriptor: int) -> int:
        sizes.append(take(pipe, descriptor))
        return sizes[-1]

    monkeypatch.setattr(echoserver.net.splice.Pipe, "take", noted)
    return sizes


def swap_at_once(serve, connect, background, data: bytes, handler: HandlerSpec = "echo") -> tuple[Peer, bytes]:
    """Have much of the data wait for the server when it accepts, so that it certainly arrives in bulk."""
    server = serve(handler, max_connections=1)
    first = connect(server)
    assert first.exchange(b"x")
    peer = connect(server)
    sent = peer.send_what_fits(data)
    assert sent > 2 * SMALL_BYTES
    reading = background(peer.read_to_end)
    first.close()
    peer.send(data[sent:])
    peer.finish()
    return peer, reading.result(PATIENCE)


def test_bulk_data_is_moved_and_comes_back_complete(serve, connect, background, log, moved):
    data = noise(8 * MIB)
    peer, got = swap_at_once(serve, connect, background, data)
    assert got == data
    line = log.ended(peer)
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("eof", len(data), len(data))
    assert sum(moved) > 0
    assert max(moved) <= MOVE_BYTES


@pytest.mark.parametrize("refusal", [errno.EMFILE, errno.ENFILE])
def test_without_a_pipe_the_bytes_are_copied(serve, connect, background, monkeypatch, moved, refusal):
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "pipe2", refuse)
    data = noise(8 * MIB)
    _, got = swap_at_once(serve, connect, background, data)
    assert got == data
    assert moved == []


def test_many_peers_with_bulk_data_each_get_their_own_data(serve, background):
    """There are more peers than pipes."""
    server = serve()

    def swap(seed: int) -> bool:
        data = noise(3 * MIB, seed)
        with Peer(server.address) as peer:
            return peer.swap(data) == data

    swaps = [background(swap, seed) for seed in range(12)]
    assert all(future.result(PATIENCE) for future in swaps)


@pytest.mark.parametrize("how", ["stalled", "reset"])
def test_what_one_peer_left_in_a_pipe_never_reaches_another(serve, connect, log, how):
    server = serve(write_timeout=0.1 if how == "stalled" else 0)
    for _ in range(5):
        secret = connect(server)
        if how == "stalled":
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                secret.send(b"S" * (64 * MIB))
        else:
            secret.send_what_fits(b"S" * (64 * MIB))
            secret.reset()
        assert log.ended(secret)["reason"] == how
        if how == "stalled":
            break
    data = noise(8 * MIB)
    for _ in range(2):
        assert connect(server).swap(data) == data


def test_bulk_data_that_the_server_had_when_it_drained_is_answered(serve, connect, background, log):
    server = serve()
    begun = drain_begun(server)
    peer = connect(server)
    flooding = background(peer.flood, b"abcdefgh")
    while server.stats().bytes_in < MIB:  # no event tells of it; the flood makes it true
        pass
    stopping = background(server.stop)
    assert begun.wait(PATIENCE)
    got = flooding.result(PATIENCE)
    assert stopping.result(PATIENCE) == []
    line = log.ended(peer)
    assert line["reason"] == "drained"
    assert line["bytes_in"] == line["bytes_out"] == len(got)
    assert got == (b"abcdefgh" * (len(got) // 8 + 1))[: len(got)]


def test_an_urgent_byte_among_bulk_data_comes_back_in_its_place(serve, connect, background):
    peer = connect(serve())
    data = noise(4 * MIB)
    reading = background(peer.read_to_end)
    peer.send(data)
    peer.sock.send(b"!", socket.MSG_OOB)
    peer.send(data)
    peer.finish()
    assert reading.result(PATIENCE) == data + b"!" + data


class Loud(Echo):
    """Derives from echo and changes what it is fed."""

    def feed(self, data: bytes) -> bytes:
        return data.upper()


class LoudFromTheStart(Echo):
    def __init__(self) -> None:
        self.feed = bytes.upper


class Counting(Echo):
    """Derives from echo and only adds replies of its own."""

    def greet(self) -> bytes:
        return b"hello "

    def finish(self) -> bytes:
        return b" bye"


@pytest.mark.parametrize("handler", [Loud, LoudFromTheStart, bytes.upper])
def test_a_handler_that_changes_bytes_is_fed_all_of_them(serve, connect, background, moved, handler):
    data = b"abcdefgh" * MIB
    _, got = swap_at_once(serve, connect, background, data, handler)
    assert got == data.upper()
    assert moved == []


def test_a_handler_that_changes_no_bytes_may_greet_and_finish(serve, connect):
    data = noise(4 * MIB)
    assert connect(serve(Counting)).swap(data) == b"hello " + data + b" bye"


def test_only_handlers_that_certainly_change_nothing_count_as_unchanged():
    assert find_handler("echo", {}).unchanged
    assert find_handler(Counting, {}).unchanged
    for handler in ("upper", Loud, LoudFromTheStart, scripted(), lambda data: data):
        assert not find_handler(handler, {}).unchanged


# -- the pool


def test_a_pipe_that_is_not_empty_is_not_lent_again():
    pool = PipePool()
    pipe = pool.borrow()
    assert pipe is not None
    pool.give_back(pipe, empty=False)
    again = pool.borrow()
    assert again is not pipe
    pool.give_back(again, empty=True)
    assert pool.borrow() is again
    pool.give_back(again, empty=True)
    pool.close()


def test_the_pool_lends_a_limited_number_and_lends_them_again():
    pool = PipePool()
    pipes = []
    while (pipe := pool.borrow()) is not None:
        pipes.append(pipe)
    assert 1 <= len(pipes) <= 16
    pool.give_back(pipes[0], empty=False)
    replacement = pool.borrow()
    assert replacement is not None
    assert pool.borrow() is None
    for pipe in [replacement, *pipes[1:]]:
        pool.give_back(pipe, empty=True)
    assert pool.borrow() is not None
    pool.close()


def test_a_closed_pool_lends_nothing_and_closes_what_is_given_back():
    before = set(os.listdir("/proc/self/fd"))
    pool = PipePool()
    on_loan, idle = pool.borrow(), pool.borrow()
    pool.give_back(idle, empty=True)
    pool.close()
    assert pool.borrow() is None
    pool.give_back(on_loan, empty=True)
    assert set(os.listdir("/proc/self/fd")) == before


def test_without_descriptors_there_is_no_pipe_and_none_is_counted(monkeypatch):
    pool = PipePool()

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe2", refuse)
        for _ in range(100):
            assert pool.borrow() is None
    pipe = pool.borrow()
    assert pipe is not None
    pool.give_back(pipe, empty=True)
    pool.close()


def test_stopping_leaves_no_pipe_open(serve, connect):
    before = len(os.listdir("/proc/self/fd"))
    server = serve()
    peer = connect(server)
    peer.swap(noise(4 * MIB))
    peer.close()
    wait_until_idle(server)
    server.stop()
    assert len(os.listdir("/proc/self/fd")) == before
