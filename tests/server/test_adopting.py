"""Listening sockets that are given to a server: what is adopted, and the one line that says why not."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from echoserver.errors import ConfigError
from echoserver.net.inherited import adopt


def test_what_an_adopted_listener_accepts_has_the_options_of_ours():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert adopt(sock) is sock
        assert not sock.getblocking()
        with socket.create_connection(sock.getsockname(), 5):
            sock.setblocking(True)
            accepted, _ = sock.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)


def test_a_unix_socket_is_adopted(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "echo.sock"))
        sock.listen()
        assert adopt(sock) is sock
        assert not sock.getblocking()


def not_adopted(sock: socket.socket) -> str:
    number = sock.fileno()
    with pytest.raises(ConfigError) as refused:
        adopt(sock)
    text = str(refused.value)
    assert text.startswith(f"cannot accept on socket {number}: ")
    assert text.endswith("; must be a stream socket that listens")
    return text


def test_what_does_not_listen_is_not_adopted():
    with socket.socket() as sock:
        assert "it does not listen" in not_adopted(sock)
        assert sock.getblocking()
        sock.bind(("127.0.0.1", 0))
        assert "it does not listen" in not_adopted(sock)


def test_what_is_no_stream_socket_is_not_adopted():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert "it is not a stream socket" in not_adopted(sock)


def test_a_socket_of_another_family_is_not_adopted():
    class Odd(socket.socket):
        family = property(lambda _: socket.AF_UNSPEC)

    with Odd(socket.AF_INET) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert "it is neither a TCP socket nor a unix socket" in not_adopted(sock)


def test_a_closed_socket_is_not_adopted():
    sock = socket.create_server(("127.0.0.1", 0))
    sock.close()
    assert "it is closed" in not_adopted(sock)


def test_a_descriptor_that_is_no_socket_is_not_adopted():
    with socket.socket() as sock:
        other = os.open(os.devnull, os.O_RDONLY)
        os.dup2(other, sock.fileno())
        os.close(other)
        assert os.strerror(errno.ENOTSOCK) in not_adopted(sock)
