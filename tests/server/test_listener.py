"""Listening on TCP addresses: what is listened on, and the one line that says why not."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from echoserver.errors import BindError
from echoserver.net import tcp
from echoserver.net.endpoint import TcpEndpoint
from echoserver.net.inherited import adopt
from echoserver.net.tcp import listen_tcp


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def listening():
    """Listen as `listen_tcp` does, and close what was opened at the end of the test."""
    opened: list[socket.socket] = []

    def start(host: str, port: int = 0, backlog: int = 8) -> list[socket.socket]:
        found = listen_tcp(TcpEndpoint(host, port), backlog)
        opened.extend(found)
        return found

    yield start
    for sock in opened:
        sock.close()


def resolve_to(monkeypatch, *addresses: str) -> None:
    """Let every host name stand for these addresses."""

    def resolve(_host, port, **_options):
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (families[":" in address], socket.SOCK_STREAM, 6, "", (address, port, 0, 0)[: 4 if ":" in address else 2])
            for address in addresses
        ]

    monkeypatch.setattr(tcp.socket, "getaddrinfo", resolve)


def fail_to_bind(monkeypatch, *outcomes: int) -> list[tuple]:
    """Let each bind end with its error number, and with 0 do its work; return the addresses tried."""
    tried = []
    left = list(outcomes)
    bind = socket.socket.bind

    def scripted(sock, address):
        tried.append(address)
        error = left.pop(0)
        if error:
            raise OSError(error, os.strerror(error))
        bind(sock, address)

    monkeypatch.setattr(tcp.socket.socket, "bind", scripted, raising=False)
    return tried


def connects(host: str, port: int) -> bool:
    with socket.create_connection((host, port), 5):
        return True


def test_a_free_port_is_taken_and_nobody_waits_for_an_accept(listening):
    (sock,) = listening("127.0.0.1")
    host, port = sock.getsockname()
    assert host == "127.0.0.1"
    assert port > 0
    assert not sock.getblocking()
    assert connects(host, port)


def test_a_port_just_left_is_free_again(listening):
    (sock,) = listening("127.0.0.1")
    port = sock.getsockname()[1]
    # The server's side closes first and so gets into TIME_WAIT.
    with socket.create_connection(("127.0.0.1", port), 5) as peer:
        sock.setblocking(True)
        accepted, _ = sock.accept()
        accepted.close()
        assert peer.recv(1) == b""
    sock.close()
    (again,) = listening("127.0.0.1", port)
    assert again.getsockname()[1] == port


@needs_ipv6
def test_all_of_ipv6_takes_both_families(listening):
    (sock,) = listening("::")
    port = sock.getsockname()[1]
    assert connects("::1", port)
    assert connects("127.0.0.1", port)


@needs_ipv6
def test_an_address_of_ipv6_takes_its_own_family_alone(listening):
    (sock,) = listening("::1")
    port = sock.getsockname()[1]
    assert connects("::1", port)
    with pytest.raises(ConnectionRefusedError):
        connects("127.0.0.1", port)


@needs_ipv6
def test_every_address_of_a_name_gets_the_same_port(listening, monkeypatch):
    resolve_to(monkeypatch, "::1", "127.0.0.1")
    both = listening("both.example")
    assert [sock.family for sock in both] == [socket.AF_INET6, socket.AF_INET]
    assert len({sock.getsockname()[1] for sock in both}) == 1


def test_an_address_named_twice_is_listened_on_once(listening, monkeypatch):
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.1")
    assert len(listening("twice.example")) == 1


def test_a_port_that_is_not_free_everywhere_is_given_back_for_another(listening, monkeypatch):
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    tried = fail_to_bind(monkeypatch, 0, errno.EADDRINUSE, 0, 0)
    both = listening("both.example")
    assert len({sock.getsockname()[1] for sock in both}) == 1
    assert [address[0] for address in tried] == ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"]
    assert [tried[0][1], tried[2][1]] == [0, 0], "the kernel chooses anew"


def test_a_port_that_is_never_free_everywhere_is_given_up(monkeypatch):
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    tried = fail_to_bind(monkeypatch, *[0, errno.EADDRINUSE] * 100)
    with pytest.raises(BindError, match=r"^cannot listen on 127\.0\.0\.2:\d+: another program listens there"):
        listen_tcp(TcpEndpoint("both.example", 0), 8)
    assert len(tried) == 40


def test_a_given_port_that_one_address_refuses_is_refused(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    fail_to_bind(monkeypatch, 0, errno.EADDRINUSE)
    with pytest.raises(BindError, match=rf"^cannot listen on 127\.0\.0\.2:{free}: another program listens there"):
        listen_tcp(TcpEndpoint("both.example", free), 8)


@pytest.mark.parametrize("missing", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_an_address_that_this_machine_lacks_is_left_out(listening, monkeypatch, missing):
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    fail_to_bind(monkeypatch, missing, 0)
    (sock,) = listening("both.example")
    assert sock.getsockname()[0] == "127.0.0.1"


# -- refusals


def refusal(host: str, port: int = 0) -> str:
    with pytest.raises(BindError) as refused:
        listen_tcp(TcpEndpoint(host, port), 8)
    assert str(refused.value).isprintable()
    return str(refused.value)


def test_an_address_in_use_is_refused_by_name():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refusal("127.0.0.1", port) == (
            f"cannot listen on 127.0.0.1:{port}: another program listens there: stop it (ss -ltnp shows which), "
            "or choose another port"
        )


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errno.EACCES, "not permitted: ports below 1024 need a privilege (CAP_NET_BIND_SERVICE); choose a higher one"),
        (errno.EADDRNOTAVAIL, "no interface of this machine has this address; 0.0.0.0 is all of them"),
        (errno.EAFNOSUPPORT, "Address family not supported by protocol"),
        (errno.ENOBUFS, "No buffer space available"),
    ],
)
def test_other_failures_are_refused_with_a_remedy(monkeypatch, error, remedy):
    fail_to_bind(monkeypatch, error)
    assert refusal("127.0.0.1", 80) == f"cannot listen on 127.0.0.1:80: {remedy}"


def test_an_address_of_another_machine_is_refused():
    # 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    assert refusal("192.0.2.1", 9000).startswith("cannot listen on 192.0.2.1:9000: no interface of this machine ")


@needs_ipv6
def test_an_address_of_ipv6_is_refused_in_brackets():
    assert refusal("2001:db8::1", 9000).startswith("cannot listen on [2001:db8::1]:9000: ")


def test_a_name_that_has_no_address_is_refused(monkeypatch):
    def fail(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(tcp.socket, "getaddrinfo", fail)
    assert refusal("no.example") == (
        "cannot listen on 'no.example': Name or service not known; "
        "give an address of this machine, or a name that has one"
    )


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example"])
def test_a_name_that_no_host_can_have_is_refused(host):
    assert refusal(host).startswith(f"cannot listen on {host!r}: ")


def test_where_listening_fails_nothing_stays_open(monkeypatch):
    # The fixture of every test looks for sockets left open.
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    fail_to_bind(monkeypatch, 0, errno.EACCES)
    refusal("both.example")


def test_the_default_timeout_of_sockets_does_not_matter(listening):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        (ours,) = listening("127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as other:
            assert [sock.gettimeout() for sock in (ours, adopt(other))] == [0.0, 0.0]
    finally:
        socket.setdefaulttimeout(before)
