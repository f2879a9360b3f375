"""The file of a unix socket: when it appears, with which permissions, what it replaces, and when it goes."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoserver.errors import BindError
from echoserver.net import unix
from echoserver.net.endpoint import UnixEndpoint
from echoserver.net.listener import Listener, listen
from echoserver.net.unix import listen_unix, welcome


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """A folder whose path is short enough for any socket in it; nothing temporary is left there."""
    yield tmp_path
    assert [path for path in tmp_path.iterdir() if path.name != "echo.sock"] == []


@pytest.fixture
def endpoint(folder) -> UnixEndpoint:
    return UnixEndpoint(str(folder / "echo.sock"))


@pytest.fixture
def umask() -> Iterator[None]:
    """Let the test change the umask."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        return peer.connect_ex(path) == 0


def left_behind(path: str, kind: int = socket.SOCK_STREAM) -> None:
    """Leave a file behind as a server that was killed does."""
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(path)


def refusal(endpoint: UnixEndpoint) -> str:
    with pytest.raises(BindError) as refused:
        listen_unix(endpoint, 8)
    text = str(refused.value)
    assert text.isprintable()
    assert text.startswith(f"cannot listen on {endpoint}: ")
    return text.removeprefix(f"cannot listen on {endpoint}: ")


def permissions(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_socket_listens_and_never_blocks(endpoint):
    with listen_unix(endpoint, 8) as sock:
        assert not sock.getblocking()
        assert connects(endpoint.path)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o000])
@pytest.mark.parametrize("stale", [False, True])
def test_the_file_never_has_other_permissions(folder, monkeypatch, umask, mask, mode, stale):
    """Looked at between all steps: first there is none, or the one that was left behind, and then it is complete."""
    endpoint = UnixEndpoint(str(folder / "echo.sock"), mode)
    if stale:
        left_behind(endpoint.path)
    before = os.lstat(endpoint.path) if stale else None
    steps: list[str] = []

    def watched(name: str, module: object) -> None:
        act = getattr(module, name)

        def step(*arguments: object) -> object:
            assert (os.lstat(endpoint.path) if os.path.lexists(endpoint.path) else None) == before, name
            if name == "rename":
                assert permissions(str(arguments[0])) == mode, "it has its mode before it has its name"
                assert connects(str(arguments[0])) or mode != 0o666
            steps.append(name)
            return act(*arguments)

        monkeypatch.setattr(module, name, step, raising=False)

    watched("bind", socket.socket)
    watched("listen", socket.socket)
    watched("chmod", os)
    watched("rename", os)
    os.umask(mask)
    with listen_unix(endpoint, 8):
        assert steps == ["bind", "chmod", "listen", "rename"]
        assert permissions(endpoint.path) == mode


def test_a_file_that_a_dead_server_left_behind_is_replaced(endpoint):
    left_behind(endpoint.path)
    assert not connects(endpoint.path)
    with listen_unix(endpoint, 8):
        assert connects(endpoint.path)


def test_a_file_that_goes_as_it_is_looked_at_is_no_obstacle(endpoint, monkeypatch):
    left_behind(endpoint.path)
    connect = socket.socket.connect_ex

    def late(sock: socket.socket, path: str) -> int:
        os.unlink(path)
        return connect(sock, path)

    monkeypatch.setattr(socket.socket, "connect_ex", late, raising=False)
    listen_unix(endpoint, 8).close()


@pytest.mark.parametrize("backlog", [8, 0])
def test_a_path_on_which_a_server_listens_is_refused(endpoint, backlog):
    """Also a server that accepts nothing and whose queue is full."""
    waiting: list[socket.socket] = []
    with listen_unix(endpoint, backlog) as first:
        try:
            while not backlog:
                waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting[-1].setblocking(False)
                if waiting[-1].connect_ex(endpoint.path) == errno.EAGAIN:
                    break
            assert refusal(endpoint) == (
                "another program listens there: stop it (ss -lxp shows which), or choose another path"
            )
        finally:
            for peer in waiting:
                peer.close()
        assert first.fileno() >= 0
        assert os.path.exists(endpoint.path)


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_a_path_that_is_not_a_socket_is_refused_and_stays(endpoint, what):
    path = Path(endpoint.path)
    {
        "file": lambda: path.write_text("precious"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("/nowhere"),
    }[what]()
    assert refusal(endpoint) == "the path exists and is not a socket; remove it, or choose another path"
    assert os.path.lexists(path)


def test_a_socket_of_another_kind_is_refused(endpoint):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(endpoint.path)
        assert refusal(endpoint) == os.strerror(errno.EPROTOTYPE)


def test_a_folder_that_is_not_there_is_refused(folder):
    problem = refusal(UnixEndpoint(str(folder / "none" / "echo.sock")))
    assert problem == "No such file or directory; create the directory first, or choose another path"


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("step", ["bind", "chmod", "listen", "rename"])
def test_a_step_that_fails_leaves_nothing_behind(endpoint, monkeypatch, step, error):
    def fail(*_: object) -> None:
        raise OSError(error, "as told")

    monkeypatch.setattr(os if step in ("chmod", "rename") else socket.socket, step, fail, raising=False)
    remedy = "choose a directory in which this user may create files"
    assert refusal(endpoint) == f"{os.strerror(error)}; {remedy}"
    assert not os.path.lexists(endpoint.path)


def test_the_longest_path_is_listened_on(tmp_path):
    path = str(tmp_path / "x")
    path += "x" * (107 - len(path))
    assert len(path) == 107
    with listen_unix(UnixEndpoint(path), 8):
        assert connects(path)


@pytest.mark.parametrize("name", ["a", "é", "0"])
def test_the_shortest_name_gets_a_temporary_one_too(tmp_path, monkeypatch, name):
    """One that is no longer, differs from it, and is not taken."""
    (tmp_path / "1").touch()
    tried = iter(["0000", "1111", "2222"])
    monkeypatch.setattr(unix.os, "urandom", lambda _: bytes.fromhex(next(tried)))
    with listen_unix(UnixEndpoint(str(tmp_path / name)), 8):
        assert connects(str(tmp_path / name))
    assert (tmp_path / "1").read_text() == ""


def test_temporary_names_that_are_always_taken_are_an_error(endpoint, monkeypatch):
    monkeypatch.setattr(unix.os, "urandom", lambda _: b"\x12\x34")
    taken = Path(endpoint.path).with_name("1234")
    taken.touch()
    assert refusal(endpoint) == os.strerror(errno.EADDRINUSE)
    taken.unlink()


# -- the end


def opened(endpoint: UnixEndpoint) -> Listener:
    (listener,) = listen(endpoint, 8, {})
    return listener


def test_the_file_goes_with_its_listener(endpoint):
    listener = opened(endpoint)
    listener.close()
    assert not os.path.lexists(endpoint.path)
    listener.close()


def test_a_file_that_has_been_replaced_stays(endpoint):
    first = opened(endpoint)
    os.unlink(endpoint.path)
    second = opened(endpoint)
    first.close()
    assert connects(endpoint.path)
    second.close()
    assert not os.path.lexists(endpoint.path)


def test_a_file_that_is_gone_or_cannot_be_removed_is_no_error(endpoint, monkeypatch):
    gone = opened(endpoint)
    os.unlink(endpoint.path)
    gone.close()
    kept = opened(endpoint)

    def fail(_: str) -> None:
        raise PermissionError(errno.EACCES, "as told")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        kept.close()
    assert kept.fileno() == -1


def test_the_file_of_a_socket_that_was_bound_elsewhere_stays(endpoint):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(endpoint.path)
        sock.listen()
        Listener(sock, endpoint, made_here=False).close()
    assert os.path.exists(endpoint.path)


# -- who connects


@pytest.mark.skipif(sys.platform != "linux", reason="needs SO_PEERCRED")
def test_a_peer_is_its_process_and_user():
    served, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with served, peer:
        assert welcome(served) == f"pid={os.getpid()},uid={os.getuid()}"


def test_a_peer_is_unnamed_where_the_platform_does_not_tell(monkeypatch):
    monkeypatch.setattr(unix, "_PEERCRED", -1)
    served, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with served, peer:
        assert welcome(served) == "unnamed"
