"""How addresses are written."""

from __future__ import annotations

import socket

import pytest

from echoserver.net.endpoint import Endpoint, format_address


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoint("127.0.0.1", 9000), "127.0.0.1:9000"),
        (Endpoint("::1", 9000), "[::1]:9000"),
        (Endpoint("::", 0), "[::]:0"),
        (Endpoint("fe80::1%eth0", 1), "[fe80::1%eth0]:1"),
        (Endpoint("localhost", 9000), "localhost:9000"),
    ],
)
def test_an_endpoint_is_written_as_people_write_it(endpoint, text):
    assert str(endpoint) == text


def test_the_endpoint_of_a_socket_is_where_it_is_bound():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert Endpoint.of(sock) == Endpoint("127.0.0.1", sock.getsockname()[1])
    with pytest.raises(OSError, match="Bad file descriptor"):
        Endpoint.of(sock)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 9000), "127.0.0.1:9000"),
        (("::1", 9000, 0, 0), "[::1]:9000"),
        (("fe80::1%eth0", 9000, 0, 2), "[fe80::1%eth0]:9000"),
        ("/run/echo.sock", "/run/echo.sock"),
        (b"\0echo", "@echo"),
        (b"\0\xff", "@\udcff"),
        ("", "unnamed"),
        (b"", "unnamed"),
        (None, "unnamed"),
        ((), "unnamed"),
    ],
)
def test_whatever_accept_returns_can_be_written(address, text):
    assert format_address(address) == text
