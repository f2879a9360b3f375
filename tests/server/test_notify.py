"""What a service manager is told, and that its absence costs nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from echoserver.process import notify
from echoserver.process.notify import ServiceManager

PATIENCE = 10.0


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path) -> Iterator[tuple[socket.socket, str]]:
    """The socket of a service manager, and its name in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@echoserver-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(name if request.param == "path" else "\0" + name[1:])
        yield sock, name


def test_the_state_arrives_as_lines(manager):
    sock, name = manager
    told = ServiceManager({"NOTIFY_SOCKET": name})
    told.tell(READY="1", STATUS="serving on tcp://[::]:9000")
    assert sock.recv(1000) == b"READY=1\nSTATUS=serving on tcp://[::]:9000"
    told.tell(STOPPING="1")
    assert sock.recv(1000) == b"STOPPING=1"


def test_the_variable_is_removed():
    environment = {"NOTIFY_SOCKET": "/nowhere", "PATH": "/bin"}
    ServiceManager(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "@nobody-there", "relative", "vsock:2:1", "/" + "x" * 200])
def test_a_manager_that_cannot_be_told_is_ignored(name):
    ServiceManager({"NOTIFY_SOCKET": name}).tell(READY="1")


def test_without_a_manager_nothing_is_opened(monkeypatch):
    monkeypatch.setattr(notify.socket, "socket", None)
    ServiceManager({}).tell(READY="1")


def test_a_manager_that_does_not_read_holds_nothing_up_for_long(manager, monkeypatch):
    sock, name = manager
    monkeypatch.setattr(notify, "_SEND_SECONDS", 0.01)
    told = ServiceManager({"NOTIFY_SOCKET": name})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        try:
            while True:
                other.sendto(b"x", sock.getsockname())
        except BlockingIOError:  # its queue is full
            pass
        told.tell(READY="1")
