"""The health check's exchange, with servers that do it right and servers that don't."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from echoserver import Server, ServerConfig
from echoserver.clock import Deadline
from echoserver.net.endpoint import InheritedEndpoint, TcpEndpoint, UnixEndpoint
from echoserver.process.healthcheck import exchange

LINE = b"echoserver healthcheck\n"
PATIENCE = 10.0


@pytest.fixture
def answering():
    """Start a server for one peer, which does what the function says: `answering(function)` returns its port."""
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def start(act: Callable[[socket.socket], object]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE)
        listeners.append(listener)

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(PATIENCE)
                act(peer)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return listener.getsockname()[1]

    yield start
    for thread in threads:
        thread.join(PATIENCE)
    for listener in listeners:
        listener.close()


class Stages(Deadline):
    """A deadline that leaves these times to one step after the other."""

    def __init__(self, *left: float) -> None:
        super().__init__(0)
        self._left = list(left)

    def timeout(self) -> float:
        return self._left.pop(0)


@pytest.mark.parametrize("handler", ["echo", "upper"])
@pytest.mark.parametrize("options", [{}, {"encoding": "utf-8"}])
def test_the_built_in_handlers_are_healthy(handler, options):
    options = options if handler == "upper" else {}
    with Server(ServerConfig(port=0, handler=handler, handler_options=options)) as server:
        host, port = server.address
        assert exchange(TcpEndpoint(host, port), handler, Deadline(PATIENCE)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_a_wildcard_is_asked_on_loopback(host):
    listen = "127.0.0.1" if host == "0.0.0.0" else host
    with Server(ServerConfig(port=0, host=listen)) as server:
        assert exchange(TcpEndpoint(host, server.address[1]), "echo", Deadline(PATIENCE)) is None


def test_a_listener_behind_a_proxy_is_sent_a_header_without_addresses():
    config = ServerConfig(listen=["tcp://127.0.0.1:0?proxy=require"], proxy_trusted=["127.0.0.1"])
    with Server(config) as server:
        assert exchange(TcpEndpoint(*server.address, proxy=True), "echo", Deadline(PATIENCE)) is None
        assert exchange(TcpEndpoint(*server.address), "echo", Deadline(PATIENCE)) is not None


def test_of_another_handler_a_single_byte_will_do():
    with Server(ServerConfig(port=0, handler=lambda data: b"?")) as server:
        host, port = server.address
        assert exchange(TcpEndpoint(host, port), "mine:handler", Deadline(PATIENCE)) is None


def test_an_answer_in_pieces_is_put_together(answering):
    def in_pieces(peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in peer.recv(100):
            peer.sendall(bytes([byte]))

    assert exchange(TcpEndpoint("127.0.0.1", answering(in_pieces)), "echo", Deadline(PATIENCE)) is None


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    problem = exchange(TcpEndpoint("127.0.0.1", port), "echo", Deadline(PATIENCE))
    assert problem == f"no exchange with 127.0.0.1 port {port}: Connection refused"


@pytest.mark.parametrize(("said", "shown"), [(b"", "b''"), (b"go away\n", r"b'go away\n'")])
def test_a_wrong_answer_is_shown(answering, said, shown):
    def rebuff(peer):
        peer.recv(100)
        peer.sendall(said)

    port = answering(rebuff)
    problem = exchange(TcpEndpoint("127.0.0.1", port), "echo", Deadline(PATIENCE))
    assert problem == rf"127.0.0.1 port {port} answered {shown} to b'echoserver healthcheck\n'"


def test_another_handler_that_says_nothing_is_not_healthy(answering):
    port = answering(lambda peer: peer.recv(100))
    problem = exchange(TcpEndpoint("127.0.0.1", port), "mine:handler", Deadline(PATIENCE))
    assert problem is not None


@pytest.mark.parametrize("left", [0.01, 0.0])
def test_the_deadline_holds_for_all_steps_together(answering, left):
    # The first byte comes, and then nothing: each step alone would have time again.
    port = answering(lambda peer: [peer.sendall(peer.recv(1)), peer.recv(100), peer.recv(100)])
    problem = exchange(TcpEndpoint("127.0.0.1", port), "echo", Stages(PATIENCE, PATIENCE, left))
    assert problem == f"no answer from 127.0.0.1 port {port} in time"


def test_a_free_port_cannot_be_asked():
    problem = exchange(TcpEndpoint("127.0.0.1", 0), "echo", Deadline(PATIENCE))
    assert problem == "the port is 0, so the port that the server took is unknown: configure one"


def test_a_name_that_no_host_can_have_is_a_problem_and_no_traceback():
    problem = exchange(TcpEndpoint("a..b", 9000), "echo", Deadline(PATIENCE))
    assert problem is not None
    assert problem.startswith("no exchange with a..b port 9000: ")


def test_a_unix_socket_is_asked(tmp_path):
    endpoint = UnixEndpoint(str(tmp_path / "echo.sock"))
    with Server(ServerConfig(listen=[endpoint])):
        assert exchange(endpoint, "echo", Deadline(PATIENCE)) is None
    assert exchange(endpoint, "echo", Deadline(PATIENCE)) == f"no exchange with {endpoint}: No such file or directory"


def test_a_unix_socket_that_does_not_answer(tmp_path):
    path = str(tmp_path / "echo.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        problem = exchange(UnixEndpoint(path), "echo", Stages(PATIENCE, 0.01))
        assert problem == f"no answer from unix:{path} in time"


@pytest.mark.parametrize(
    "endpoint", [InheritedEndpoint("3", by_systemd=False), InheritedEndpoint("x", by_systemd=True)]
)
def test_an_inherited_socket_cannot_be_asked(endpoint):
    problem = exchange(endpoint, "echo", Deadline(PATIENCE))
    assert problem == f"the address of {endpoint} is known only to what passed the socket: check that address"


@pytest.mark.parametrize("mode", ["threads", "workers"])
@pytest.mark.parametrize("handler", ["discard", "chargen", "daytime", "frames", "lines", "info"])
def test_every_built_in_handler_is_healthy(handler, mode):
    with Server(ServerConfig(port=0, handler=handler, mode=mode, drain_timeout=0.2)) as server:
        assert exchange(TcpEndpoint(*server.address), handler, Deadline(PATIENCE)) is None


def test_discard_that_answers_is_not_healthy(answering):
    port = answering(lambda peer: [peer.recv(100), peer.recv(100), peer.sendall(b"no")])
    problem = exchange(TcpEndpoint("127.0.0.1", port), "discard", Deadline(PATIENCE))
    assert problem == rf"127.0.0.1 port {port} answered b'no' to b'echoserver healthcheck\n'"
