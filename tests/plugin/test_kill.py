"""Killing a connection: the client sees a reset, or an orderly end, whatever the server is doing at that moment."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

import pytest

from echoserver.clock import Deadline
from echoserver.pytest_plugin import TcpServer, TcpServerFactory
from echoserver.pytest_plugin.resetting import _is_writable
from support import PATIENCE

Connect = Callable[[TcpServer], socket.socket]


def exchange(peer: socket.socket) -> None:
    peer.sendall(b"x")
    assert peer.recv(1) == b"x"


def read_to_the_end(peer: socket.socket) -> None:
    while peer.recv(1 << 20):
        pass


def sockets() -> int:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.lexists(link) and os.readlink(link).startswith("socket:") for link in links)


@pytest.mark.parametrize("record", [False, True])
def test_a_quiet_connection_is_reset(tcp_server: TcpServerFactory, connect: Connect, mode, record):
    server = tcp_server(mode=mode, record=record)
    peer, other = connect(server), connect(server)
    exchange(peer)
    (connection, _) = server.wait_for_connections(2)
    assert server.kill(connection) is True
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
    exchange(other)
    server.stop()
    assert (server.stats.closed["killed"], server.stats.closed["drained"]) == (1, 1)


def test_a_connection_is_reset_while_its_handler_runs(tcp_server: TcpServerFactory, connect: Connect, mode):
    entered, release = threading.Event(), threading.Event()

    def handle(data: bytes) -> bytes:
        entered.set()
        assert release.wait(PATIENCE)
        return data

    server = tcp_server(handle, mode=mode)
    peer = connect(server)
    peer.sendall(b"x")
    assert entered.wait(PATIENCE)
    try:
        assert server.kill(1) is True
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        assert server.connections  # until the handler returns
    finally:
        release.set()
    server.stop()
    assert server.stats.closed["killed"] == 1


def test_a_connection_is_reset_whose_peer_does_not_read(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(lambda _data: bytes(64 * 1024 * 1024), mode=mode)
    peer = connect(server)
    peer.sendall(b"x")
    assert peer.recv(1) == b"\0"
    (live,) = server._server.connections()
    while server.connections[0].state != "sending" or _is_writable(live.transport):
        pass  # until the kernels of both sides are full
    assert server.kill(1)
    assert server._server._registry.wait_empty(Deadline(PATIENCE))  # though the peer still does not read
    with pytest.raises(ConnectionResetError):
        read_to_the_end(peer)
    server.stop()
    assert server.stats.closed["killed"] == 1


def test_an_orderly_end_answers_what_has_arrived(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode)
    peer = connect(server)
    exchange(peer)
    assert server.kill(1, reset=False) is True
    assert peer.recv(1) == b""
    server.stop()
    assert server.stats.closed["drained"] == 1


def test_a_connection_that_has_ended_is_not_killed_again(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode)
    with connect(server) as peer:
        exchange(peer)
    server.stop()
    assert server.kill(1) is False


@pytest.mark.parametrize("number", [0, 2])
def test_there_has_to_be_such_a_connection(tcp_server: TcpServerFactory, connect: Connect, number):
    server = tcp_server()
    exchange(connect(server))
    with pytest.raises(ValueError, match=f"there is no connection {number}: tcp://.* has accepted 1"):
        server.kill(number)


def test_killing_leaves_no_descriptor_behind(tcp_server: TcpServerFactory, mode):
    server = tcp_server(mode=mode)
    before = sockets()
    for number in range(1, 21):
        with socket.create_connection(server.address, PATIENCE) as peer:
            exchange(peer)
            assert server.kill(number)
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
    server.stop()
    assert server.stats.closed["killed"] == 20
    assert sockets() < before
