"""The PROXY header with which a connection begins, as a server understands it."""

from __future__ import annotations

import json

import pytest

from client.kit import read_exactly, run
from echoclient.cli import COMMANDS
from echoclient.durations import Deadline
from echoclient.proxy import ProxySettings, parse_source
from echoclient.session import open_session
from echoclient.target import Target
from support import Program

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
SOURCES = pytest.mark.parametrize("source", ["192.0.2.1:56324", "[2001:db8::1]:7"])


def service(endpoint):
    more = ("--proxy-trusted", "127.0.0.1") if endpoint.startswith("tcp") else ()
    return Program("serve", "--handler", "info", "--listen", f"{endpoint}?proxy=require", *more)


def seen(target, *options):
    """Return what the server says of a connection."""
    result = run("send", "-t", target, *options, "hello")
    assert (result.returncode, result.stderr) == (0, b"")
    return json.loads(result.stdout)


@VERSIONS
@SOURCES
def test_the_server_sees_the_client_that_the_header_names(version, source):
    with service("tcp://127.0.0.1:0") as server:
        port = server.wait_for("listening")["port"]
        told = seen(port, "--proxy-header", version, "--proxy-source", source)
    assert told["peer"] == source
    assert told["proxied_by"].startswith("127.0.0.1:")
    assert told["proxy"]["version"] == int(version[1])
    mapped = f"[::ffff:127.0.0.1]:{port}"
    assert told["proxy"]["destination"] == (mapped if "[" in source else f"127.0.0.1:{port}")


@VERSIONS
def test_the_default_is_the_connection_s_own_address(version):
    with service("tcp://127.0.0.1:0") as server:
        told = seen(server.wait_for("listening")["port"], "--proxy-header", version)
    assert told["peer"] == told["proxied_by"] == told["proxy"]["source"]
    assert not told["proxy"]["local"]


@VERSIONS
def test_over_a_unix_socket_the_header_has_no_address(version, tmp_path):
    path = f"unix:{tmp_path}/echo.sock"
    with service(path) as server:
        server.wait_for("listening")
        told = seen(path, "--proxy-header", version)
        named = seen(path, "--proxy-header", version, "--proxy-source", "192.0.2.1:56324")
    assert told["proxy"]["local"]
    assert (told["proxy"]["version"], told["proxy"]["source"]) == (int(version[1]), None)
    assert (named["peer"], named["proxy"]["destination"]) == ("192.0.2.1:56324", "0.0.0.0:0")


@pytest.mark.parametrize("command", ["connect", "ping", "wait"])
def test_every_command_begins_with_it(serve, command):
    expected = b"PROXY TCP4 192.0.2.1 127.0.0.1 7 %d\r\n"
    headers = []

    def behind(connection):
        headers.append(read_exactly(connection, len(expected % port)))
        while data := connection.recv(65536):
            connection.sendall(data)

    peer = serve(behind)
    port = peer.port
    more = ("-c", "1") if command == "ping" else ()
    header = ("--proxy-header", "v1", "--proxy-source", "192.0.2.1:7")
    assert run(command, port, *more, *header, stdin=b"hello").returncode == 0
    assert headers == [expected % port]


def test_the_header_is_not_counted(serve):
    target = Target(port=serve().port, proxy=ProxySettings("v2"))
    with open_session(target, Deadline(20)) as session:
        assert (session.bytes_out, session.bytes_in) == (0, 0)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("report", "bench")])
def test_a_source_without_a_header_is_refused(command):
    result = run(command, "--proxy-source", "192.0.2.1:7")
    assert result.returncode == 2
    assert result.stderr.decode().splitlines()[-1] == (
        "Error: --proxy-source is part of a header: give its version with --proxy-header v1 or v2"
    )


def test_a_version_that_does_not_exist_is_refused():
    result = run("ping", "--proxy-header", "v3")
    assert result.returncode == 2
    assert "Invalid value for '--proxy-header': 'v3' is not one of 'v1', 'v2'" in result.stderr.decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "localhost:7",
        "192.0.2.1:",
        "192.0.2.1:65536",
        ":7",
        "[192.0.2.1]:7",
        "2001:db8::1:7",
        "[::1]",
        "192.0.2.1:٣",
        "[::1:7",
        "192.0.2.256:7",
    ],
)
def test_a_source_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is not an address with a port: write") as refusal:
        parse_source(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "address"), [("192.0.2.1:0", ("192.0.2.1", 0)), ("[2001:db8::1]:65535", ("2001:db8::1", 65535))]
)
def test_a_source_is_an_address_and_a_port(text, address):
    assert parse_source(text) == address
