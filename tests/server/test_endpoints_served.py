"""Servers that listen on several endpoints, and what is different about the peers of unix sockets."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from pathlib import Path
from time import monotonic

import pytest

import echoserver.serving.accepting
import echoserver.serving.workers.epoll_set
from echoserver import Handler, Server, ServerConfig
from echoserver.errors import BindError
from echoserver.handlers import Peer as WhoIsThere
from echoserver.net.endpoint import TcpEndpoint
from server.kit import Peer, scripted, where
from server.ways import every_way, wait_until_settled

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "echo.sock")


def test_several_endpoints_share_the_limits(serve, log, path):
    server = serve(listen=[f"unix:{path}", "tcp://127.0.0.1:0"], max_connections=1, at_limit="reject")
    assert server.endpoints == (f"unix:{path}", f"tcp://127.0.0.1:{server.address[1]}")
    with Peer(path) as first:
        assert first.exchange(b"hello") == b"hello"
        with Peer(server.address) as second:
            assert second.read_to_break() == b""
    wait_until_settled(server)
    assert server.stats().rejected == 1
    with Peer(server.address) as second:
        assert second.exchange(b"hello") == b"hello"
        with Peer(path) as first:
            assert first.read_to_break() == b""


def test_each_line_names_its_endpoint(serve, log, path):
    server = serve(listen=["tcp://127.0.0.1:0", f"unix:{path}?mode=0600"])
    tcp, unix = server.endpoints
    assert [line["endpoint"] for line in log.lines("listening")] == [tcp, unix]
    assert [line["address"] for line in log.lines("listening")] == [tcp.removeprefix("tcp://"), path]
    for place, count in ((server.address, 1), (path, 2)):
        with Peer(place) as peer:
            assert peer.swap(b"x" * count) == b"x" * count
            (line,) = log.wait_for("connection ended", bytes_in=count)
            assert (line["endpoint"], line["peer"]) == (tcp if count == 1 else unix, peer.name)


def test_a_host_name_and_all_of_both_families(serve):
    server = serve(listen=["tcp://localhost:0", "tcp://[::]:0"])
    *of_the_name, (_, port) = server.addresses
    assert len({port for _, port in of_the_name}) == 1
    for address in [*of_the_name, ("::1", port), ("127.0.0.1", port)]:
        with Peer(address) as peer:
            assert peer.swap(b"hello") == b"hello"


def test_a_server_without_tcp_has_no_address(serve, path):
    server = serve(listen=[f"unix:{path}"])
    assert server.addresses == ()
    with pytest.raises(RuntimeError, match=f"^the server listens on no TCP address, but on unix:{path}$"):
        server.address  # noqa: B018 - a property


# -- the file


def test_the_file_is_there_while_the_server_listens(serve, path):
    server = serve(listen=[f"unix:{path}?mode=0640"])
    assert os.stat(path).st_mode & 0o777 == 0o640
    server.stop()
    assert not os.path.lexists(path)


def test_a_server_leaves_the_file_of_the_next_one(mode, log, path):
    config = ServerConfig(listen=[f"unix:{path}"], mode=mode)
    with Server(config, log=log.logger):
        with pytest.raises(BindError, match="another program listens there"):
            Server(config, log=log.logger).start()
        os.unlink(path)
        with Server(config, log=log.logger) as second, Peer(where(second)) as peer:
            assert peer.swap(b"hello") == b"hello"
        assert not os.path.lexists(path)
        Path(path).write_text("precious")
    assert Path(path).read_text() == "precious"


@pytest.mark.parametrize("step", ["waker", "thread", "janitor"])
def test_a_start_that_fails_leaves_no_file(mode, log, path, monkeypatch, step):
    def fail(*_: object) -> None:
        raise OSError(24, "as told")

    server = Server(ServerConfig(listen=[f"unix:{path}", "tcp://127.0.0.1:0"], mode=mode), log=log.logger)
    if step == "waker":
        monkeypatch.setattr(echoserver.serving.accepting, "Waker", fail)
        monkeypatch.setattr(echoserver.serving.workers.epoll_set, "Waker", fail)
    else:
        monkeypatch.setattr(server._accepting if step == "thread" else server._janitor, "start", fail)
    with pytest.raises(OSError, match="as told"):
        server.start()
    assert not os.path.lexists(path)


# -- peers


def test_peers_of_a_unix_socket_have_no_host_and_no_limit_for_one(serve, connect, log, path):
    server = serve(listen=[f"unix:{path}"], max_connections_per_host=1)
    peers = [connect(server) for _ in range(3)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"
    assert [connection.peer for connection in server.connections()] == [f"pid={os.getpid()},uid={os.getuid()}"] * 3
    assert server.stats().rejected == 0


@every_way
def test_a_handler_is_told_the_process(serve, connect, path, dispatch):
    seen: list[WhoIsThere] = []

    class Naming(Handler):
        blocking = False

        def greet(self) -> bytes:
            seen.append(self.peer)
            return b"!"

        def feed(self, data: bytes) -> bytes:
            return data

    peer = connect(serve(Naming, listen=[f"unix:{path}"], dispatch=dispatch))
    assert peer.read(1) == b"!"
    (who,) = seen
    assert (who.address, who.port) == (f"pid={os.getpid()},uid={os.getuid()}", None)


def test_a_hundred_megabytes_come_back_over_a_unix_socket(serve, connect, log, path):
    data = random.Random(1).randbytes(1 * MIB) * 100
    peer = connect(serve(listen=[f"unix:{path}"]))
    assert hashlib.sha256(peer.swap(data)).digest() == hashlib.sha256(data).digest()
    assert log.ended(peer)["bytes_out"] == 100 * MIB


def test_a_stop_does_not_linger_for_what_waits_at_the_peers_end(serve, connect, path):
    """Closing a unix socket takes nothing away from the peer, so there is nothing to wait for."""
    server = serve(scripted(finish=lambda: b"goodbye"), listen=[f"unix:{path}"])
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    begun = monotonic()
    server.stop()
    assert monotonic() - begun < 1
    assert peer.read_to_end() == b"goodbye"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_given_listener_is_named_by_where_it_is_bound(mode, log, path, kind):
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(path if kind == "unix" else ("127.0.0.1", 0))
        sock.listen()
        expected = f"unix:{path}" if kind == "unix" else str(TcpEndpoint.of(sock))
        with Server(ServerConfig(mode=mode), log=log.logger, listeners=[sock]) as server:
            assert server.endpoints == (expected,)
            with Peer(where(server)) as peer:
                assert peer.swap(b"hello") == b"hello"
    assert os.path.lexists(path) == (kind == "unix")
