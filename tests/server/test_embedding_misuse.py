"""What an embedding program may do wrong: the server refuses it or bears it, and can still be stopped."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import ExitStack

import pytest

from echoserver import Server, ServerConfig
from echoserver.errors import ConfigError
from echoserver.observe.metrics import CloseReason
from server.kit import PATIENCE, Peer
from server.log_lines import LogLines
from server.ways import wait_until_settled


@pytest.mark.parametrize("first", [CloseReason.EOF, CloseReason.RESET, CloseReason.HANDLER, CloseReason.FINISHED])
def test_a_reason_that_is_no_request_does_not_keep_the_server_from_stopping(serve, connect, first):
    """A connection that has been asked to end may still be open when the server stops, and is asked again."""
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    (connection,) = server.connections()
    connection.end(first)
    connection.end(CloseReason.DRAINED)
    connection.end(CloseReason.CUT)
    assert server.stop() == []


class StoppingLog(LogLines):
    """A log that stops the server from the thread that logs an event, once."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._event = event
        self.servers: list[Server] = []
        self.outcome: list[str] = []
        self.asked = threading.Event()

    def _take(self, logger: object, method: str, event: dict[str, object]) -> str:
        if event["event"] == self._event and not self.asked.is_set():
            try:
                self.servers[0].stop(PATIENCE)
            except RuntimeError as error:
                self.outcome.append(str(error))
            self.asked.set()
        return super()._take(logger, method, event)


@pytest.mark.parametrize(
    "event", ["connection limit reached", "handler stuck", "connection ended"], ids=["acceptor", "janitor", "serving"]
)
def test_a_log_that_stops_the_server_is_refused_and_the_server_goes_on(mode, gate, event):
    """The thread that logs would wait for itself."""
    log = StoppingLog(event)
    config = ServerConfig(port=0, mode=mode, max_connections=1, handler=gate, handler_timeout=0.05)
    with Server(config, log=log.logger) as server:
        log.servers.append(server)
        with Peer(server.address) as peer, Peer(server.address) as other:
            peer.send(b"hello")
            gate.wait_entered()
            if event == "connection ended":
                gate.open()
                peer.close()
            assert log.asked.wait(PATIENCE)
            gate.open()
            peer.close()
            # Nothing has been stopped: the next peer is served.
            assert other.exchange(b"hello") == b"hello"
        wait_until_settled(server)
    assert len(log.outcome) == 1
    assert log.outcome[0].startswith("stop() waits for ")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_a_listener_given_twice_is_listened_on_once(mode, listener):
    with Server(ServerConfig(mode=mode), listeners=[listener, listener]) as server:
        assert len(server.addresses) == 1
        with Peer(server.address) as peer:
            assert peer.swap(b"hello") == b"hello"


def test_a_listener_that_speaks_tls_is_refused(listener):
    """It would shake hands in the acceptor, which one silent peer could hold up for ever."""
    problem = "wraps what it accepts, as TLS does; must be a stream socket"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(listener, server_side=True) as wrapped, pytest.raises(ConfigError, match=problem):
        Server(listeners=[wrapped])


def test_peers_of_a_unix_socket_have_no_host_to_be_limited_by(mode, tmp_path):
    path = str(tmp_path / "echo.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        config = ServerConfig(mode=mode, max_connections_per_host=1)
        with Server(config, listeners=[listening]) as server, ExitStack() as peers:
            for _ in range(3):
                peer = peers.enter_context(socket.socket(socket.AF_UNIX))
                peer.settimeout(PATIENCE)
                peer.connect(path)
                peer.sendall(b"hello")
                assert peer.recv(5) == b"hello"
            assert (server.stats().active, server.stats().rejected) == (3, 0)
