"""The memory that threads receive into: one for each thread, and no message lost where there is none to be had."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

import echoserver.net.buffer
import echoserver.serving.blocking
import echoserver.serving.threads
from echoserver.net.buffer import SMALL_BYTES, ReceiveBuffer
from echoserver.net.splice import PipePool
from echoserver.net.transport import PlainTransport
from echoserver.observe.metrics import CloseReason
from server.connection_kit import make_connection, serve_blocking
from server.kit import wait_until_idle


def test_a_part_is_made_once_for_messages_of_one_length():
    buffer = ReceiveBuffer()
    buffer.full[:5] = b"hello"
    part = buffer.first(5)
    assert (buffer.view, buffer.size) == (b"hello", 5)
    buffer.full[:5] = b"world"
    assert part == b"world"
    assert buffer.first(2) == b"wo"


def test_a_part_that_cannot_be_made_leaves_the_last_one_as_it_was():
    """Or the next message of that length would be answered with another one's bytes."""

    class NoPart:
        def __getitem__(self, _: slice) -> memoryview:
            raise MemoryError

    buffer = ReceiveBuffer()
    buffer.first(5)
    buffer.full = NoPart()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        buffer.first(3)
    assert buffer.size == len(buffer.view) == 5


def no_memory(*_: object, **__: object) -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_no_memory_is_told_as_such(monkeypatch):
    monkeypatch.setattr(echoserver.net.buffer.mmap, "mmap", no_memory)
    with pytest.raises(MemoryError, match="no memory to receive into: Cannot allocate memory"):
        ReceiveBuffer()


@pytest.mark.parametrize("mode", ["threads"])
def test_a_peer_for_whose_thread_there_is_no_memory_is_closed_and_its_place_is_free(serve, connect, log, monkeypatch):
    server = serve(max_connections=1)
    with monkeypatch.context() as patched:
        patched.setattr(echoserver.net.buffer.mmap, "mmap", no_memory)
        unlucky = connect(server)
        assert unlucky.read_to_break() == b""
        log.wait_for("cannot serve a connection", reason="no memory to receive into: Cannot allocate memory")
    assert connect(server).swap(b"hello") == b"hello"
    wait_until_idle(server)
    assert server.stats().closed["killed"] == 1


class Messages:
    """A socket with whole messages to receive, one after the other, that takes every reply."""

    def __init__(self, messages: Iterator[bytes]) -> None:
        self._messages = messages
        self._left = b""
        self.sent = bytearray()

    def fileno(self) -> int:
        return -1

    def recv(self, limit: int) -> bytes:
        raise AssertionError("bytes that are only sent back are received in place")

    def recv_into(self, memory: memoryview) -> int:
        self._left = self._left or next(self._messages, b"")
        count = min(len(memory), len(self._left))
        memory[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def send(self, data: memoryview) -> int:
        self.sent += data
        return len(data)


@pytest.mark.parametrize(("size", "most"), [(64, 0), (65536, 0), (100_000, 4), (1_000_000, 40)])
def test_the_kernel_is_asked_what_is_left_only_where_that_may_be_worth_it(monkeypatch, size, most):
    asked = []

    def nothing_more(transport: PlainTransport) -> int:
        asked.append(transport)
        return 0

    monkeypatch.setattr(PlainTransport, "unread", nothing_more)
    messages = [bytes([number]) * size for number in range(40)]
    sock, pipes = Messages(iter(messages)), PipePool()
    connection = make_connection(sock, pipes=pipes)  # type: ignore[arg-type]
    assert serve_blocking(connection) is CloseReason.EOF
    assert sock.sent == b"".join(messages)
    assert len(asked) <= most
    assert (len(asked) > 0) == (size > SMALL_BYTES)
    pipes.close()
