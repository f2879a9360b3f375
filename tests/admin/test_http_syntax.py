"""The admin endpoint and the syntax of HTTP: requests in pieces, in a row, malformed, and without end."""

from __future__ import annotations

import json
import socket
from time import monotonic

import pytest

import echoserver.admin.http
from echoserver.version import __version__
from server.kit import PATIENCE

TCP = "tcp://127.0.0.1:0"


def raw(admin, data: bytes, *, until_end: bool = True) -> bytes:
    with socket.create_connection(admin.inner.address, PATIENCE) as sock:
        sock.sendall(data)
        answer = b""
        while more := sock.recv(65536):
            answer += more
            if not until_end:
                break
        return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 20_000, b"431"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    ],
)
def test_the_connection_ends_after_what_is_no_request_or_the_last(administer, data, status):
    answer = raw(administer(endpoint=TCP), data)
    assert answer.split(b" ", 2)[1] == status
    assert answer.count(b"HTTP/1.1 ") == 1


def test_requests_may_come_in_one_piece_or_byte_by_byte(administer):
    admin = administer(endpoint=TCP)
    request = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = raw(admin, request * 3 + last)
    assert answer.count(b"200 OK") == 4
    assert answer.endswith(json.dumps({"version": __version__}).encode() + b"\n")
    with socket.create_connection(admin.inner.address, PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in last:
            sock.sendall(bytes([byte]))
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_a_request_that_never_ends_is_given_up(administer, monkeypatch):
    monkeypatch.setattr(echoserver.admin.http, "_REQUEST_SECONDS", 0.3)
    admin = administer(endpoint=TCP)
    begun = monotonic()
    with socket.create_connection(admin.inner.address, PATIENCE) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\n")
        sock.settimeout(0.05)
        answer = b""
        while not answer and monotonic() - begun < PATIENCE:
            try:
                sock.sendall(b"X: y\r\n")
                answer = sock.recv(4096)
            except TimeoutError:
                pass
    assert answer.startswith(b"HTTP/1.1 408 ")
