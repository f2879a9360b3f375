"""How endpoints and addresses are written, and what is refused as an endpoint."""

from __future__ import annotations

import socket

import pytest

from echoserver.net.endpoint import InheritedEndpoint, TcpEndpoint, UnixEndpoint, format_address, parse_endpoint

LONGEST_PATH = "/" + "x" * 106


@pytest.mark.parametrize(
    ("endpoint", "text", "address"),
    [
        (TcpEndpoint("127.0.0.1", 9000), "tcp://127.0.0.1:9000", "127.0.0.1:9000"),
        (TcpEndpoint("::1", 9000), "tcp://[::1]:9000", "[::1]:9000"),
        (TcpEndpoint("::", 0), "tcp://[::]:0", "[::]:0"),
        (TcpEndpoint("localhost", 65535), "tcp://localhost:65535", "localhost:65535"),
        (UnixEndpoint("/run/echo.sock"), "unix:/run/echo.sock", "/run/echo.sock"),
        (UnixEndpoint("/run/a b", 0o600), "unix:/run/a b?mode=0600", "/run/a b"),
        (UnixEndpoint("/run/a", 0o007), "unix:/run/a?mode=0007", "/run/a"),
        (UnixEndpoint(LONGEST_PATH), f"unix:{LONGEST_PATH}", LONGEST_PATH),
        (InheritedEndpoint("3", by_systemd=False), "fd:3", "fd:3"),
        (InheritedEndpoint("echo", by_systemd=True), "systemd:echo", "systemd:echo"),
        (InheritedEndpoint("echo.socket", by_systemd=True), "systemd:echo.socket", "systemd:echo.socket"),
        (TcpEndpoint("::1", 9443, tls=True), "tls://[::1]:9443", "[::1]:9443"),
        (TcpEndpoint("::1", 9443, proxy=True, tls=True), "tls://[::1]:9443?proxy=require", "[::1]:9443"),
        (TcpEndpoint("::1", 9000, proxy=True), "tcp://[::1]:9000?proxy=require", "[::1]:9000"),
        (UnixEndpoint("/run/a", proxy=True), "unix:/run/a?proxy=require", "/run/a"),
        (UnixEndpoint("/run/a", 0o600, proxy=True), "unix:/run/a?mode=0600&proxy=require", "/run/a"),
        (InheritedEndpoint("3", by_systemd=False, proxy=True), "fd:3?proxy=require", "fd:3"),
        (InheritedEndpoint("echo", by_systemd=True, proxy=True), "systemd:echo?proxy=require", "systemd:echo"),
    ],
)
def test_the_text_of_an_endpoint_stands_for_it(endpoint, text, address):
    assert str(endpoint) == text
    assert parse_endpoint(text) == endpoint
    assert endpoint.address == address


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/a?mode=0660", UnixEndpoint("/run/a")),
        ("unix:/run/a?mode=640", UnixEndpoint("/run/a", 0o640)),
        ("fd:03", InheritedEndpoint("3", by_systemd=False)),
        ("unix:/run/a?proxy=require&mode=0600", UnixEndpoint("/run/a", 0o600, proxy=True)),
    ],
)
def test_an_endpoint_may_be_written_in_another_way(text, endpoint):
    assert parse_endpoint(text) == endpoint


TCP = "tcp://HOST:PORT with a port from 0 to 65535, and an IPv6 address in brackets"
FILE = "unix:/PATH with the absolute path of a file"
MODE = "unix:/PATH?mode=0660, with the permissions in octal"
PROXY = "an endpoint with ?proxy=require, or without it"
ANY = "tcp://HOST:PORT, tls://HOST:PORT, unix:/PATH, fd:NUMBER or systemd:NAME"


@pytest.mark.parametrize(
    ("problem", "texts"),
    [
        (TCP, ["tcp:", "tcp://", "tcp://:9000", "tcp://localhost", "tcp://localhost:", "tcp://localhost:65536"]),
        (TCP, ["tcp:localhost:9000", "tcp://::1:9000", "tcp://[::1:9000", "tcp://localhost:-1", "tcp://localhost:x"]),
        (TCP, ["tcp://localhost:9000/", "tcp://localhost:9000?mode=0660", "tcp://localhost:9000#", "tcp://a@b:1"]),
        (TCP, ["tcp://localhost:9000?", "tcp://@b:1", "tcp://localhost:٣"]),
        (FILE, ["unix:", "unix:run/echo.sock", "unix://", "unix:/run/", "unix:?mode=0660"]),
        (MODE, ["unix:/a?", "unix:/a?mode=", "unix:/a?mode=0888", "unix:/a?mode=77", "unix:/a?mode=rw", "unix:/a?x=1"]),
        (MODE, ["unix:/a?mode=0660&mode=0600", "unix:/a?mode=01777", "unix:/a?mode=-660", "unix:/a?b?mode=0660"]),
        (PROXY, ["tcp://a:1?proxy=", "tcp://a:1?proxy=yes", "fd:3?proxy", "unix:/a?proxy=require&proxy=require"]),
        ("unix:/PATH with a path of at most 107 bytes", [f"unix:{LONGEST_PATH}x", "unix:/" + "é" * 54]),
        (
            "unix:/PATH; an abstract name has no permissions, so any local user could connect",
            ["unix:@echo", "unix:@", "unix:@echo?mode=0660"],
        ),
        (
            ANY,
            ["", "fd:", "fd:-1", "fd:x", "fd:1.0", "fd:1234567890", "fd:٣", "systemd:", "/run/echo.sock", "TCP://a:1"],
        ),
        (
            ANY,
            ["localhost:9000", "http://a:1", "unix:/a\nb", "unix:\0echo", "systemd:\x1b", "tcp://a\t:1", "tcp://a:1\n"],
        ),
    ],
)
def test_what_is_no_endpoint_is_refused_with_what_would_be_one(problem, texts):
    for text in texts:
        with pytest.raises(ValueError, match=r".") as refused:
            parse_endpoint(text)
        assert str(refused.value) == problem, text


def test_the_endpoint_of_a_socket_is_where_it_is_bound():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert TcpEndpoint.of(sock) == TcpEndpoint("127.0.0.1", sock.getsockname()[1])
    with pytest.raises(OSError, match="Bad file descriptor"):
        TcpEndpoint.of(sock)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 9000), "127.0.0.1:9000"),
        (("::1", 9000, 0, 0), "[::1]:9000"),
        (("fe80::1%eth0", 9000, 0, 2), "[fe80::1%eth0]:9000"),
        ("/run/echo.sock", "/run/echo.sock"),
        ("pid=7,uid=0", "pid=7,uid=0"),
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
