"""What a test learns from its server, and what it can have the server do."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from echoserver import Handler
from echoserver.errors import ConfigError
from echoserver.pytest_plugin import TcpServer, TcpServerFactory
from support import PATIENCE

Connect = Callable[[TcpServer], socket.socket]


class Greeter(Handler):
    def __init__(self, *, name: str = "you") -> None:
        self.name = name.encode()

    def greet(self) -> bytes:
        return b"hello " + self.name

    def feed(self, data: bytes) -> bytes:
        return data[::-1]

    def finish(self) -> bytes:
        return b"bye"


def receive(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := peer.recv(count - len(data))):
        data += more
    return data


def test_it_says_where_it_listens(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode)
    assert server.address == (server.host, server.port) == ("127.0.0.1", server.port)
    assert server.url == f"tcp://127.0.0.1:{server.port}"
    assert connect(server).getpeername() == server.address


def test_it_listens_where_it_is_told(tcp_server: TcpServerFactory, connect: Connect, tmp_path):
    server = tcp_server(host="localhost", max_connections=5)
    assert connect(server).getpeername()[:2] in server._server.addresses
    unix = tcp_server(listen=[f"unix:{tmp_path}/s"])
    assert unix.url == f"unix:{tmp_path}/s"
    with pytest.raises(RuntimeError, match="the server has no TCP address: it listens on unix:"):
        _ = unix.address


@pytest.mark.parametrize("handler", [Greeter, f"{__name__}:Greeter"], ids=["class", "name"])
@pytest.mark.parametrize("record", [True, False])
def test_a_handler_is_a_class_or_its_name(tcp_server: TcpServerFactory, connect: Connect, mode, handler, record):
    server = tcp_server(handler, mode=mode, record=record, handler_options={"name": "me"})
    peer = connect(server)
    assert receive(peer, 8) == b"hello me"
    peer.sendall(b"abc")
    assert receive(peer, 3) == b"cba"
    peer.shutdown(socket.SHUT_WR)
    assert receive(peer, 10) == b"bye"


def test_a_handler_is_a_function(tcp_server: TcpServerFactory, connect: Connect, mode):
    peer = connect(tcp_server(lambda data: data * 2, mode=mode))
    peer.sendall(b"ab")
    assert receive(peer, 4) == b"abab"


def test_bad_options_are_refused_as_ever(tcp_server: TcpServerFactory):
    with pytest.raises(ConfigError, match="max_connections: -1 is refused"):
        tcp_server(max_connections=-1)
    with pytest.raises(ConfigError, match="no handler 'nonsense'"):
        tcp_server("nonsense", record=True)
    with pytest.raises(TypeError, match="nonsense"):
        tcp_server(nonsense=1)


def test_what_connections_receive_is_recorded(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode, record=True)
    first = connect(server)
    first.sendall(b"one")
    assert receive(first, 3) == b"one"
    with connect(server) as second:
        second.sendall(b"two")
        assert receive(second, 3) == b"two"
        second.shutdown(socket.SHUT_WR)
        assert second.recv(1) == b""
    first.sendall(b"!")
    assert receive(first, 1) == b"!"
    assert server.received == {1: b"one!", 2: b"two"}


def test_peers_of_a_unix_socket_are_recorded_too(tcp_server: TcpServerFactory, tmp_path):
    path = f"{tmp_path}/s"
    server = tcp_server(listen=[f"unix:{path}"], record=True)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for peer, data in ((first, b"one"), (second, b"two")):
            peer.settimeout(PATIENCE)
            peer.connect(path)
            peer.sendall(data)
            assert receive(peer, 3) == data
        assert server.received == {1: b"one", 2: b"two"}


def test_what_is_not_recorded_is_asked_for_in_vain(tcp_server: TcpServerFactory):
    with pytest.raises(RuntimeError, match="make the server with record=True"):
        _ = tcp_server().received


def test_connections_are_described(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode)
    peer = connect(server)
    peer.sendall(b"hello")
    assert receive(peer, 5) == b"hello"
    other = connect(server)
    first, second = server.wait_for_connections(2)
    assert (first.number, first.peer) == (1, "{}:{}".format(*peer.getsockname()))
    assert (first.bytes_in, second.number, second.bytes_in) == (5, 2, 0)
    assert str(second).startswith("2 from {}:{} (".format(*other.getsockname()))
    server.stop()
    assert server.connections == []
    assert (server.stats.accepted, server.stats.bytes_in) == (2, 5)


def test_waiting_counts_the_connections_that_have_ended(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode)
    with connect(server) as peer:
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    kept = connect(server)
    (connection,) = [live for live in server.wait_for_connections(2) if live.number == 2]
    assert connection.peer == "{}:{}".format(*kept.getsockname())


def test_waiting_in_vain_says_what_there_is(tcp_server: TcpServerFactory, connect: Connect):
    server = tcp_server()
    peer = connect(server)
    server.wait_for_connections(1)
    with pytest.raises(TimeoutError) as caught:
        server.wait_for_connections(3, timeout=0.02)
    text = str(caught.value)
    assert text.startswith(f"waited for 3 connections to {server.url} for 0.02 s, and it accepted 1. Open: 1 from ")
    assert "{}:{} (receiving, 0 bytes in, 0 out)".format(*peer.getsockname()) in text
    server.stop()
    with pytest.raises(TimeoutError, match=r"Open: none. Ended, by reason: \{'drained': 1\}"):
        server.wait_for_connections(2, timeout=PATIENCE)


def test_a_refused_address_refuses_and_nobody_else_can_get_it(tcp_server: TcpServerFactory):
    server = tcp_server()
    first, second = server.refused_address(), server.refused_address()
    assert first != second
    for address in (first, second):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, PATIENCE)
        with socket.socket() as other, pytest.raises(OSError, match="in use") as caught:
            other.bind(address)
        assert caught.value.errno == errno.EADDRINUSE
    server.close()
    with socket.socket() as other:
        other.bind(first)


def test_a_refused_address_is_of_the_family_of_the_server(tcp_server: TcpServerFactory):
    try:
        server = tcp_server(host="::1")
    except OSError:
        pytest.skip("needs IPv6")
    assert server.url == f"tcp://[::1]:{server.port}"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.refused_address(), PATIENCE)


def test_a_stopped_server_refuses(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(mode=mode)
    peer = connect(server)
    server.stop()
    assert peer.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    assert server.address[1] == server.port  # it can still be asked


def test_exceptions_of_the_handler_can_be_taken(tcp_server: TcpServerFactory, connect: Connect, mode):
    error = ValueError("no")

    def fail(_data: bytes) -> bytes:
        raise error

    server = tcp_server(fail, mode=mode)
    peer = connect(server)
    peer.sendall(b"x")
    assert peer.recv(1) == b""
    server.stop()
    assert server.take_errors() == [error]
    assert server.take_errors() == []


def test_faults_are_options_of_the_server(tcp_server: TcpServerFactory):
    config = tcp_server(faults=["reset@10%", "delay=5ms"])._server.config
    assert ([str(rule) for rule in config.fault], config.fault_seed) == (["reset@10%", "delay=5ms"], 1)
    assert tcp_server(faults=["reset"], fault_seed=7)._server.config.fault_seed == 7
    with pytest.raises(ConfigError, match=r"fault: .*nonsense"):
        tcp_server(faults=["nonsense"])


def test_faults_happen(tcp_server: TcpServerFactory, connect: Connect, mode):
    server = tcp_server(faults=["reset@#2"], mode=mode)
    first, second = connect(server), connect(server)
    first.sendall(b"x")
    assert first.recv(1) == b"x"
    second.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        second.recv(1)
