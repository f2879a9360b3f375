"""Starting a server: once, and with nothing left behind when it fails."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import nullcontext

import pytest

from echoserver import Handler, Server, ServerConfig
from echoserver.errors import BindError, ConfigError
from server.descriptor_kit import descriptors, needs_proc

# What makes the descriptor of a waker.
OF_A_WAKER = "os.eventfd" if hasattr(os, "eventfd") else "socket.socketpair"


def test_a_server_is_started_once(serve, connect):
    server = serve()
    address = server.address
    with pytest.raises(RuntimeError, match="started once"):
        server.start()
    assert server.address == address
    assert connect(server).exchange(b"unharmed") == b"unharmed"
    server.stop()
    with pytest.raises(RuntimeError, match="started once"):
        server.start()


def test_there_is_no_address_before_the_start(mode):
    server = Server(ServerConfig(port=0, mode=mode))
    with pytest.raises(RuntimeError, match="not been started"):
        server.address  # noqa: B018
    assert server.stats().accepted == 0
    assert server.connections() == []
    server.stop()


@needs_proc
def test_a_start_on_a_port_in_use_fails_and_leaves_nothing(mode, log):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        threads, files = set(threading.enumerate()), descriptors()
        server = Server(ServerConfig(port=port, mode=mode), log=log.logger)
        with pytest.raises(BindError, match=f"127.0.0.1:{port}"):
            server.start()
        assert set(threading.enumerate()) == threads
        assert descriptors() == files
        assert log.lines("listening") == []
    server.stop()


@needs_proc
@pytest.mark.parametrize("nth", [1, 2])
def test_a_start_without_threads_left_fails_and_leaves_nothing(mode, monkeypatch, nth):
    threads, files = set(threading.enumerate()), descriptors()
    server = Server(ServerConfig(port=0, mode=mode))
    starts = []

    def start(thread: threading.Thread) -> None:
        starts.append(thread)
        if len(starts) >= nth:
            raise RuntimeError("can't start new thread")
        start_really(thread)

    start_really = threading.Thread.start
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            server.start()
    assert set(threading.enumerate()) == threads
    assert descriptors() == files
    with pytest.raises(RuntimeError):
        server.start()
    assert server.stop() == []
    server.wait()


@needs_proc
@pytest.mark.parametrize(
    "culprit",
    [OF_A_WAKER, "selectors.DefaultSelector", "select.epoll"],
)
def test_a_start_without_descriptors_left_fails_and_leaves_nothing(mode, monkeypatch, culprit):
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    threads, files = set(threading.enumerate()), descriptors()
    server = Server(ServerConfig(port=0, mode=mode))
    # Where the poller serves connections, it accepts as well.
    unneeded = culprit == ("select.epoll" if mode == "threads" else "selectors.DefaultSelector")
    with monkeypatch.context() as patched:
        patched.setattr(culprit, refuse)
        with nullcontext() if unneeded else pytest.raises(OSError, match="Too many open files"):
            server.start()
    server.stop()
    assert set(threading.enumerate()) == threads
    assert descriptors() == files


def test_a_handler_is_refused_before_anything_is_bound(mode):
    class Picky(Handler):
        def __init__(self) -> None:
            raise SystemExit("not like this")

    with pytest.raises(ConfigError, match="Picky"):
        Server(ServerConfig(port=0, mode=mode, handler=Picky))
    with pytest.raises(ConfigError, match="shout"):
        Server(ServerConfig(port=0, mode=mode, handler="shout"))
