"""send: one exchange, and the check of its reply."""

from __future__ import annotations

import os
import socket

import pytest

from client.kit import hold, read_exactly, reset, run, upper
from echoclient.errors import ClosedError, ResetError, TimedOutError
from echoclient.send import exchange
from echoclient.session import connect
from echoclient.target import Target


def test_text_goes_out_as_echo_writes_it(serve):
    result = run("send", "-t", serve().port, "hello", "world")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello world\n", b"")


def test_bytes_of_an_argument_that_are_not_text_stay_unchanged(serve):
    result = run("send", "-t", serve().port, os.fsdecode(b"\xff\xfe"))
    assert result.stdout == b"\xff\xfe\n"


def test_standard_input_and_files_go_out_byte_for_byte(serve, tmp_path):
    port, data = serve().port, bytes(range(256))
    (tmp_path / "file").write_bytes(data)
    assert run("send", "-t", port, stdin=data).stdout == data
    assert run("send", "-t", port, "--file", tmp_path / "file").stdout == data
    assert run("send", "-t", port, "--file", "-", stdin=data).stdout == data


def test_text_and_file_exclude_each_other(tmp_path):
    (tmp_path / "file").touch()
    result = run("send", "--file", tmp_path / "file", "hello")
    assert result.returncode == 2
    assert b"TEXT and --file together: give one of the two" in result.stderr


@pytest.mark.parametrize(
    ("expect", "status"), [("upper", 0), ("echo", 1), ("none", 0), ("regex:^H.*O$", 0), ("regex:^h", 1)]
)
def test_the_reply_is_held_against_the_expectation(serve, expect, status):
    result = run("send", "-t", serve(upper).port, "--expect", expect, "hello")
    assert (result.returncode, result.stdout) == (status, b"HELLO\n")


def test_one_wrong_byte_is_found_and_shown(serve):
    def corrupts(connection):
        data = bytearray(read_exactly(connection, 2_000_000))
        data[1_000_003] ^= 0x20
        connection.sendall(data)

    peer = serve(corrupts)
    result = run("send", "-t", peer.port, "--expect", "echo", stdin=b"abcdefgh" * 250_000)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines() == [
        "  expected  000f4240  61 62 63 64 65 66 67 68  61 62 63 64 65 66 67 68  |abcdefghabcdefgh|",
        "  received  000f4240  61 62 63 44 65 66 67 68  61 62 63 64 65 66 67 68  |abcDefghabcdefgh|",
        f"echoclient: CORRUPT 127.0.0.1:{peer.port}: at 1000003",
    ]


def test_what_came_before_the_failure_is_printed(serve):
    def half(connection):
        connection.sendall(read_exactly(connection, 6)[:3])
        connection.recv(1)  # the end of what the client sends
        hold(connection)

    peer = serve(half)
    result = run("send", "-t", peer.port, "--timeout", "200ms", "hello")
    assert (result.returncode, result.stdout) == (1, b"hel")
    assert result.stderr.decode() == (
        f"echoclient: TIMEOUT 127.0.0.1:{peer.port}: the server did not end the exchange within 200ms; "
        "6 bytes sent, 3 received\n"
    )


def try_exchange(peer, request, timeout=20.0):
    reply = bytearray()
    with connect(Target(port=peer.port)) as session:
        exchange(session, request, reply, timeout)
    return reply


def test_a_large_exchange_with_a_server_that_reads_only_what_it_could_send(serve):
    data = os.urandom(20_000_000)
    assert try_exchange(serve(), data) == data


def test_a_server_that_ends_before_it_has_everything(serve):
    def deaf(connection):
        connection.shutdown(socket.SHUT_WR)
        hold(connection)

    with pytest.raises(ClosedError, match="before everything was sent"):
        try_exchange(serve(deaf), b"x" * 50_000_000)


def test_a_server_that_resets(serve):
    with pytest.raises(ResetError):
        try_exchange(serve(lambda connection: read_exactly(connection, 1) and reset(connection)), b"x")


def test_a_server_that_drips_does_not_outlast_the_timeout(serve):
    def drips(connection):
        while True:
            # Waits until the client takes it, and fails once the client has closed the connection.
            connection.sendall(b"." * 100_000)

    with pytest.raises(TimedOutError):
        try_exchange(serve(drips), b"x", timeout=0.1)
