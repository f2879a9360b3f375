"""Serving on sockets that somebody else has bound, and what a handler is told of its peer."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from echoserver import Handler, Server, ServerConfig
from echoserver.errors import ConfigError
from echoserver.handlers import Peer as WhoIsThere
from server.kit import PATIENCE, Peer
from server.log_lines import LogLines
from server.ways import every_way, wait_until_settled


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def start(mode: str, log: LogLines, *listeners: socket.socket, **options: object) -> Server:
    config = ServerConfig(**{"port": 1, "mode": mode, "drain_timeout": PATIENCE, **options})
    server = Server(config, log=log.logger, listeners=listeners)
    server.start()
    return server


def test_all_listeners_given_are_served_and_no_other_is_made(mode, log, bound):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        addresses = (bound.getsockname(), other.getsockname()[:2])
        server = start(mode, log, bound, other)
        try:
            assert server.addresses == addresses
            assert server.address == addresses[0]
            shown = [f"127.0.0.1:{addresses[0][1]}", f"[::1]:{addresses[1][1]}"]
            assert [line["address"] for line in log.lines("listening")] == shown
            for address in addresses:
                with Peer(address) as peer:
                    assert peer.swap(b"hello") == b"hello"
            wait_until_settled(server)
        finally:
            assert server.stop() == []
        assert (bound.fileno(), other.fileno()) == (-1, -1)


def test_a_listener_that_others_hold_goes_on_listening_after_the_stop(mode, log, bound):
    with bound.dup() as shared:
        server = start(mode, log, bound)
        address = server.address
        with Peer(address) as peer:
            assert peer.exchange(b"hello") == b"hello"
            server.stop()
            assert peer.read_to_end() == b""
        assert bound.fileno() == -1
        with Peer(address) as peer:
            shared.setblocking(True)
            accepted, _ = shared.accept()
            with accepted:
                accepted.sendall(b"from another")
            assert peer.read_to_end() == b"from another"


def test_peers_that_wait_at_a_shared_listener_are_left_to_the_others_where_there_is_no_place(mode, log, bound):
    with bound.dup() as shared:
        server = start(mode, log, bound, max_connections=1)
        with Peer(server.address) as first:
            assert first.exchange(b"hello") == b"hello"
            with Peer(server.address) as waiting:
                log.wait_for("connection limit reached")
                server.stop()
                shared.setblocking(True)
                accepted, _ = shared.accept()
                accepted.close()
                assert waiting.read_to_end() == b""


@pytest.mark.parametrize("kind", ["bound only", "connected", "UDP", "closed"])
def test_what_is_no_listener_is_refused_before_anything_starts(mode, log, kind):
    with (
        socket.socket(type=socket.SOCK_DGRAM if kind == "UDP" else socket.SOCK_STREAM) as sock,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        number = sock.fileno()
        if kind == "connected":
            sock.connect(listener.getsockname())
        elif kind == "closed":
            sock.close()
            number = -1
        else:
            sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError) as refusal:
            Server(ServerConfig(mode=mode), log=log.logger, listeners=[sock])
        problem = {"UDP": "it is not a stream socket", "closed": "it is closed"}.get(kind, "it does not listen")
        expected = f"cannot accept on socket {number}: {problem}; must be a stream socket that listens"
        assert str(refusal.value) == expected


def test_no_listeners_are_refused(mode, log):
    with pytest.raises(ConfigError, match="at least one listening socket"):
        Server(ServerConfig(mode=mode), log=log.logger, listeners=[])


def test_a_server_that_is_never_started_leaves_the_listener_alone(mode, log, bound):
    Server(ServerConfig(mode=mode), log=log.logger, listeners=[bound]).stop()
    assert bound.fileno() >= 0


class Naming(Handler):
    """Says who is there."""

    blocking = False
    seen: list[WhoIsThere] = []  # noqa: RUF012 - the test replaces it

    def __init__(self) -> None:
        assert not hasattr(self, "peer")

    def greet(self) -> bytes:
        self.seen.append(self.peer)
        return f"{self.peer.address} {self.peer.host} {self.peer.port}".encode()

    def feed(self, data: bytes) -> bytes:
        return data


@every_way
@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1:{}"), ("::1", "[::1]:{}"), ("::", "[::ffff:127.0.0.1]:{}")]
)
def test_a_handler_knows_its_peer(serve, connect, log, monkeypatch, dispatch, host, shown):
    seen: list[WhoIsThere] = []
    monkeypatch.setattr(Naming, "seen", seen)
    server = serve(Naming, host=host, dispatch=dispatch)
    with Peer(("127.0.0.1" if host == "::" else host, server.address[1])) as peer:
        peer.finish()
        said = peer.read_to_end().decode()
        port = peer.sock.getsockname()[1]
    (who,) = seen
    assert (who.address, who.port) == (shown.format(port), port)
    assert said == f"{who.address} {who.host} {port}"
    log.wait_for("connection ended", peer=who.address)
