"""The server inside another program: in any thread, several at a time, and with nothing left behind."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import weakref

import pytest

from echoserver import Handler, Server, ServerConfig
from server.descriptor_kit import descriptors, needs_proc
from server.kit import PATIENCE, Peer, wait_until_idle
from server.log_lines import LogLines
from server.ways import let_owners_release


@needs_proc
def test_nothing_is_left_behind(mode):
    threads, files = set(threading.enumerate()), descriptors()
    with Server(ServerConfig(port=0, handler="upper", mode=mode)) as server:
        with Peer(server.address) as peer, Peer(server.address) as silent:
            assert peer.exchange(b"hello") == b"HELLO"
            assert silent.exchange(b"there") == b"THERE"
        assert set(threading.enumerate()) > threads
    assert set(threading.enumerate()) == threads
    assert descriptors() == files


def test_a_server_runs_in_any_thread(mode, background):
    def run() -> bytes:
        with Server(ServerConfig(port=0, mode=mode)) as server, Peer(server.address) as peer:
            return peer.exchange(b"hello")

    runs = [background(run) for _ in range(4)]
    assert [future.result(PATIENCE) for future in runs] == [b"hello"] * 4


def test_one_thread_starts_a_server_and_another_stops_it(mode, background):
    server = Server(ServerConfig(port=0, mode=mode))
    background(server.start).result(PATIENCE)
    with Peer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"
        assert background(server.stop).result(PATIENCE) == []
        assert peer.read_to_end() == b""


def test_two_servers_are_independent(serve, connect):
    loud, quiet = serve("upper"), serve("echo")
    assert loud.address != quiet.address
    to_loud, to_quiet = connect(loud), connect(quiet)
    for _ in range(3):
        assert to_loud.exchange(b"hello") == b"HELLO"
    assert to_quiet.exchange(b"hi") == b"hi"
    assert (loud.stats().bytes_in, quiet.stats().bytes_in) == (15, 2)
    assert (len(loud.connections()), len(quiet.connections())) == (1, 1)
    loud.stop()
    assert to_loud.read_to_end() == b""
    assert to_quiet.exchange(b"hi") == b"hi"


def test_the_port_is_free_again_at_once(serve, connect):
    first = serve()
    peer = connect(first)
    assert peer.exchange(b"hello") == b"hello"
    first.stop()  # the server closes first, so its end of the connection stays in TIME_WAIT
    second = serve(port=first.address[1])
    assert connect(second).exchange(b"hello") == b"hello"


def test_an_exception_in_the_with_block_is_passed_on(mode):
    with pytest.raises(ZeroDivisionError), Server(ServerConfig(port=0, mode=mode)) as server, Peer(server.address):
        raise ZeroDivisionError
    assert server.connections() == []


def test_by_default_a_server_logs_to_the_standard_library(mode, caplog):
    caplog.set_level(logging.INFO, logger="echoserver")
    with Server(ServerConfig(port=0, mode=mode)) as server, Peer(server.address) as peer:
        assert peer.swap(b"hello") == b"hello"
    lines = [record.getMessage() for record in caplog.records if record.name == "echoserver"]
    assert any(line.startswith("listening ") and f"port={server.address[1]}" in line for line in lines)
    assert any(line.startswith("connection ended ") and "reason=eof" in line for line in lines)


def test_the_listening_line_has_the_real_address(serve, log):
    server = serve("upper")
    (line,) = log.lines("listening")
    host, port = server.address
    assert port != 0
    assert (line["host"], line["port"], line["address"]) == (host, port, f"127.0.0.1:{port}")
    assert line["handler"] == "upper"


def test_stats_stay_readable_after_the_stop(serve, connect):
    server = serve()
    assert connect(server).swap(b"hello") == b"hello"
    server.stop()
    stats = server.stats()
    assert (stats.accepted, stats.active, stats.bytes_in, stats.bytes_out, stats.replies) == (1, 0, 5, 5, 1)


PROGRAM = """
import signal, socket, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # like tools that write to a pipe
from echoserver import Server, ServerConfig

def many(data):
    return data * 400

mode, name = sys.argv[1:]
handler = many if name == "many" else name
with Server(ServerConfig(port=0, mode=mode, handler=handler, write_timeout=0.1)) as server:
    with socket.create_connection(server.address) as peer:
        try:
            peer.sendall(bytes(256_000_000), socket.MSG_NOSIGNAL)  # and reads no reply
        except OSError:
            pass
    with socket.create_connection(server.address) as peer:
        peer.sendall(b"still here")
        assert peer.recv(10, socket.MSG_WAITALL) == b"still here"
assert server.stats().closed["stalled"] == 1
print("served to the end")
"""


@pytest.mark.parametrize("handler", ["echo", "many"])
def test_a_peer_that_leaves_does_not_end_a_program_with_the_default_sigpipe(mode, handler):
    command = [sys.executable, "-c", PROGRAM, mode, handler]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3)
    assert (run.returncode, run.stdout, run.stderr) == (0, "served to the end\n", "")


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_stop_refuses_a_timeout_that_is_not_a_number_of_seconds(serve, timeout):
    server = serve()
    with pytest.raises(ValueError, match="must be a number of seconds, 0 or more"):
        server.stop(timeout)


class FailingLog(LogLines):
    """A log of the embedding program that raises for one event."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._poison = event

    def _take(self, logger: object, method: str, event: dict[str, object]) -> str:
        if event["event"] == self._poison:
            raise RuntimeError("the log is broken")
        return super()._take(logger, method, event)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("handler", ["echo", lambda data: data], ids=["inline", "queued"])
def test_a_log_that_raises_costs_no_place(mode, handler):
    """The defect is the embedding program's and is reported as such; the server goes on."""
    config = ServerConfig(port=0, mode=mode, max_connections=1, handler=handler)
    with Server(config, log=FailingLog("connection ended").logger) as server:
        for _ in range(3):
            with Peer(server.address) as peer:
                assert peer.swap(b"hello") == b"hello"
    stats = server.stats()
    assert stats.accepted == stats.closed["eof"] == 3


def test_connections_are_listed_oldest_first(serve, connect):
    server = serve()
    peers = [connect(server) for _ in range(5)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"
    assert [connection.peer for connection in server.connections()] == [peer.name for peer in peers]


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_handler_is_freed_when_its_peer_has_left(serve, connect, is_blocking):
    """A peer can make it large, and no later connection is needed to free it (with the interpreter lock)."""
    watching, gone = [], threading.Event()

    class Heavy(Handler):
        blocking = is_blocking

        def __init__(self) -> None:
            watching.append(weakref.ref(self, lambda _: gone.set() if len(watching) > 1 else None))

        def feed(self, data: bytes) -> bytes:
            return data

    server = serve(Heavy)
    assert connect(server).swap(b"hello") == b"hello"
    wait_until_idle(server)
    let_owners_release(server)
    assert gone.wait(PATIENCE)
    assert len(watching) == 2  # the server made the first one to check its options


def test_a_stopped_server_is_freed(mode):
    server = Server(ServerConfig(port=0, mode=mode))
    server.start()
    with Peer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"
    server.stop()
    still_there = weakref.ref(server)
    del server
    gc.collect()
    assert still_there() is None
