"""Listening sockets from systemd or another parent: which they are, what is refused, and what stays as it was."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from echoserver.errors import BindError, ConfigError
from echoserver.net import inherited
from echoserver.net.endpoint import InheritedEndpoint, TcpEndpoint, UnixEndpoint, parse_endpoint
from echoserver.net.inherited import descriptors, forget_descriptors, named_descriptors
from echoserver.net.listener import listen_on_all

ECHO = InheritedEndpoint("echo", by_systemd=True)


def passed(count: object, names: str | None = None, pid: object = None) -> dict[str, str]:
    """Return the environment that systemd makes for this process."""
    names_too = {} if names is None else {"LISTEN_FDNAMES": names}
    return {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": str(count), **names_too}


def refusal(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(ConfigError) as refused:
        act(*arguments)
    assert refused.value.key == "listen"
    assert str(refused.value).isprintable()
    return refused.value.problem


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def as_third(bound, monkeypatch) -> socket.socket:
    """A listening socket that counts as the first one that systemd has passed."""
    monkeypatch.setattr(inherited, "_FIRST", bound.fileno())
    return bound


# -- sd_listen_fds(3)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        (passed(1, "echo"), [("echo", 3)]),
        (passed(3, "echo:admin:echo"), [("echo", 3), ("admin", 4), ("echo", 5)]),
        (passed(2), [("unknown", 3), ("unknown", 4)]),
        (passed(1, ""), [("", 3)]),
        (passed(0), []),
        (passed(1, "echo", pid=1), []),
        (passed(1, "echo", pid="x"), []),
        (passed(1, "echo", pid=f"0{os.getpid()}"), []),
        ({"LISTEN_FDS": "1"}, []),
        ({"LISTEN_PID": str(os.getpid())}, []),
        ({}, []),
    ],
)
def test_the_variables_of_systemd_name_descriptors(environment, found):
    assert named_descriptors(environment, os.getpid()) == found


@pytest.mark.parametrize("count", ["", "-1", "x", "1.0", " 1", "٣", "9" * 20])
def test_a_count_that_is_not_a_number_is_refused(count):
    assert refusal(descriptors, ECHO, passed(count, "echo")) == (
        f"systemd:echo is refused: LISTEN_FDS is {count!r}; must be a number"
    )


@pytest.mark.parametrize(("count", "names", "there"), [(1, "echo:echo", 2), (2, "echo", 1), (3, "a:", 2)])
def test_names_that_do_not_fit_the_count_are_refused(count, names, there):
    problem = f"LISTEN_FDNAMES has {there} names; must have {count}, as LISTEN_FDS says"
    assert refusal(descriptors, ECHO, passed(count, names)) == f"systemd:echo is refused: {problem}"


@pytest.mark.parametrize(
    ("environment", "there"),
    [
        ({}, "none (LISTEN_FDS and LISTEN_PID)"),
        (passed(2, "http:admin"), "admin, http"),
        (passed(2), "unknown"),
        (passed(1, "echo", pid=1), "none (LISTEN_FDS and LISTEN_PID)"),
    ],
)
def test_a_name_that_systemd_has_not_passed_is_refused(environment, there):
    problem = f"systemd has passed no socket of that name to this process; it has passed {there}"
    assert refusal(descriptors, ECHO, environment) == f"systemd:echo is refused: {problem}"


def test_several_sockets_may_have_one_name():
    assert descriptors(ECHO, passed(3, "echo:admin:echo")) == [3, 5]


def test_the_variables_are_forgotten_and_no_others():
    environment = {**passed(1, "echo"), "LISTEN_PIDFDID": "7", "PATH": "/bin"}
    forget_descriptors(environment)
    assert environment == {"PATH": "/bin"}
    forget_descriptors(environment)


# -- listening


@pytest.mark.parametrize("scheme", ["fd", "systemd"])
def test_an_inherited_socket_listens_and_is_not_inherited_in_turn(as_third, scheme):
    number = as_third.fileno()
    as_third.set_inheritable(True)
    endpoint = ECHO if scheme == "systemd" else parse_endpoint(f"fd:{number}")
    (listener,) = listen_on_all([endpoint], 8, passed(1, "echo"))
    assert listener.fileno() == as_third.detach() == number
    assert listener.endpoint == TcpEndpoint.of(listener.sock)
    assert not listener.sock.get_inheritable()
    assert not listener.sock.getblocking()
    assert listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    listener.close()


def test_an_inherited_unix_socket_goes_by_its_path_which_stays(tmp_path):
    path = str(tmp_path / "echo.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(path)
        sock.listen()
        number = sock.detach()
    (listener,) = listen_on_all([parse_endpoint(f"fd:{number}")], 8, {})
    assert listener.endpoint == UnixEndpoint(path)
    listener.close()
    assert os.path.exists(path)


def test_closing_an_inherited_listener_does_not_shut_it_down(bound):
    with bound.dup() as shared:
        (listener,) = listen_on_all([parse_endpoint(f"fd:{bound.detach()}")], 8, {})
        listener.close()
        with socket.create_connection(shared.getsockname(), 5):
            shared.setblocking(True)
            shared.accept()[0].close()


def test_all_sockets_of_a_name_are_listened_on(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        numbers = [first.detach(), second.detach()]
    monkeypatch.setattr(inherited, "named_descriptors", lambda *_: [("echo", number) for number in numbers])
    listeners = listen_on_all([ECHO], 8, {})
    assert [listener.fileno() for listener in listeners] == numbers
    for listener in listeners:
        listener.close()


# -- refusals


@pytest.fixture
def never_bound(monkeypatch) -> None:
    """Fail a test that binds anything."""

    def bind(*_: object) -> None:
        raise AssertionError("something is bound first")

    monkeypatch.setattr(socket.socket, "bind", bind, raising=False)


def refused_descriptor(number: int) -> str:
    """Return the problem, without that of the endpoint; what could be bound is named before it."""
    endpoints = [TcpEndpoint("127.0.0.1", 0), parse_endpoint(f"fd:{number}")]
    return refusal(listen_on_all, endpoints, 8, {}).removeprefix(f"fd:{number} is refused: ")


def test_a_descriptor_that_is_not_open_is_refused(never_bound):
    with open(os.devnull) as file:
        number = file.fileno()
    problem = f"descriptor {number} is not a socket (Bad file descriptor); must be one that listens"
    assert refused_descriptor(number) == problem
    assert refused_descriptor(999_999_999).startswith("descriptor 999999999 is not a socket (Bad file descriptor)")


def test_a_descriptor_that_is_not_a_socket_is_refused_and_stays_as_it_was(never_bound):
    with open(os.devnull) as file:
        os.set_inheritable(file.fileno(), True)
        reason = os.strerror(errno.ENOTSOCK)
        assert refused_descriptor(file.fileno()) == (
            f"descriptor {file.fileno()} is not a socket ({reason}); must be one that listens"
        )
        assert os.get_inheritable(file.fileno())


@pytest.mark.parametrize(
    ("kind", "problem"), [(socket.SOCK_STREAM, "it does not listen"), (socket.SOCK_DGRAM, "it is not a stream socket")]
)
def test_a_socket_that_does_not_listen_is_refused_and_stays_open(never_bound, kind, problem):
    with socket.socket(socket.AF_INET, kind) as sock:
        assert refused_descriptor(sock.fileno()) == (
            f"cannot accept on socket {sock.fileno()}: {problem}; must be a stream socket that listens"
        )
        assert sock.getsockname() == ("0.0.0.0", 0)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_connection_as_accept_yes_passes_it_is_refused_by_name(bound, family):
    pair = (
        (socket.create_connection(bound.getsockname(), 5),) if family == socket.AF_INET else socket.socketpair(family)
    )
    number = pair[0].fileno()
    problem = f"descriptor {number} is a connection; must be a socket that listens (Accept=no in a systemd unit)"
    assert refused_descriptor(number) == problem
    for sock in pair:
        sock.close()


def test_one_descriptor_under_two_names_is_refused(as_third, never_bound):
    endpoints = [ECHO, parse_endpoint(f"fd:{as_third.fileno()}")]
    problem = f"descriptor {as_third.fileno()} is that of systemd:echo too; name it once"
    assert refusal(listen_on_all, endpoints, 8, passed(1, "echo")) == f"{endpoints[1]} is refused: {problem}"


def test_where_one_of_several_is_refused_all_are_closed(bound, tmp_path):
    """The fixture of every test looks for sockets left open."""
    file = UnixEndpoint(str(tmp_path / "echo.sock"))
    taken = TcpEndpoint.of(bound)
    with pytest.raises(BindError, match="another program listens there"):
        listen_on_all([TcpEndpoint("127.0.0.1", 0), file, taken], 8, {})
    assert not os.path.exists(file.path)
