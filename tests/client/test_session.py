"""One connection: how it is established, and how a failure is reported."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from client.kit import read_exactly, reset
from echoclient.durations import Deadline
from echoclient.errors import (
    ClientError,
    ClosedError,
    RefusedError,
    ResetError,
    ResolveError,
    TimedOutError,
    from_os_error,
)
from echoclient.session import LONGEST_PAUSE, connect, open_session, resolve
from echoclient.target import Target


@pytest.fixture
def free_port():
    """A port on which nothing listens, and that no other process can get during the test."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_an_exchange_is_counted_on_both_sides(serve):
    with connect(Target(port=serve().port)) as session:
        session.send(b"x" * 100_000)
        session.half_close()
        received = b"".join(iter(session.receive, b""))
        assert received == b"x" * 100_000
        assert (session.bytes_out, session.bytes_in) == (100_000, 100_000)
        assert session.traffic() == "100000 bytes sent, 100000 received"
        assert session.peer == str(session.target)
        assert session.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_without_a_listener_is_refused(free_port):
    with pytest.raises(RefusedError) as refusal:
        connect(Target(port=free_port))
    assert str(refusal.value) == f"REFUSED 127.0.0.1:{free_port}: connection refused"


def test_a_name_without_an_address(monkeypatch):
    def fail(*_args, **_keywords):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(ResolveError, match=r"^DNS nowhere.invalid:9000: name or service not known$"):
        connect(Target("nowhere.invalid"))


def test_a_name_that_cannot_be_a_host_name():
    with pytest.raises(ResolveError):
        connect(Target("a" * 64))  # a label has at most 63 characters


def test_a_silent_name_server_does_not_outlast_the_timeout(monkeypatch):
    look_up, release, threads = socket.getaddrinfo, threading.Event(), []

    def silent(*args, flags=0, **keywords):
        if flags:  # checking whether it is an address asks no server
            return look_up(*args, flags=flags, **keywords)
        threads.append(threading.current_thread())
        release.wait()
        return []

    monkeypatch.setattr("socket.getaddrinfo", silent)
    with pytest.raises(TimedOutError, match="not resolved in time"):
        resolve(Target("slow.example"), Deadline(0.05))
    release.set()
    threads[0].join()


@pytest.fixture
def silent_port():
    """A port that does not answer: the queue of its listener is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        port = listener.getsockname()[1]
        with suppress(TimedOutError):
            for _ in range(10):
                waiting.enter_context(open_session(Target(port=port), Deadline(0.2)))
        yield port


def test_a_server_that_accepts_no_connection_times_out(silent_port):
    with pytest.raises(TimedOutError, match=r"^TIMEOUT .*: no answer"):
        connect(Target(port=silent_port), timeout=0.05)


def addresses(*ports, family=socket.AF_INET):
    return [(family, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


def test_all_addresses_of_a_name_are_tried(monkeypatch, serve, free_port):
    monkeypatch.setattr("echoclient.session.resolve", lambda *_: addresses(free_port, serve().port))
    with connect(Target("two.example")) as session:
        assert session.peer != f"127.0.0.1:{free_port}"


def test_an_address_family_this_machine_lacks_is_passed_over(monkeypatch, serve, free_port):
    no_such_family = addresses(free_port, family=socket.AF_INET6)
    create = socket.socket

    def without_v6(family=socket.AF_INET, *args, **keywords):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return create(family, *args, **keywords)

    monkeypatch.setattr("echoclient.session.resolve", lambda *_: no_such_family + addresses(serve().port))
    monkeypatch.setattr("socket.socket", without_v6)
    with connect(Target("two.example")):
        pass
    # If none can be reached, the error that says most about the server is reported.
    monkeypatch.setattr("echoclient.session.resolve", lambda *_: no_such_family + addresses(free_port))
    with pytest.raises(RefusedError):
        connect(Target("two.example"))


def test_an_address_that_swallows_packets_leaves_time_for_the_next(monkeypatch, serve, silent_port):
    monkeypatch.setattr("echoclient.session.resolve", lambda *_: addresses(silent_port, serve().port))
    with connect(Target("two.example"), timeout=0.2) as session:
        assert session.peer != f"127.0.0.1:{silent_port}"


def test_a_socket_connected_to_itself_counts_as_refused(monkeypatch):
    """The kernel may choose the target's port for our end and connect the socket to itself; that would echo."""
    genuine = socket.socket.connect

    def from_the_same_port(sock, address):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        return genuine(sock, address)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr("socket.socket.connect", from_the_same_port)
    with pytest.raises(RefusedError):
        connect(Target(port=port))


class Pauses(threading.Event):
    """A stop event that does not wait, records how long it should have waited, and does something instead."""

    def __init__(self, meanwhile=lambda pauses: False):
        super().__init__()
        self.pauses = []
        self._meanwhile = meanwhile

    def wait(self, timeout=None):
        self.pauses.append(timeout)
        return self._meanwhile(self.pauses)


def test_waiting_continues_until_the_server_is_up(serve):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = []

    def start_in_the_third_pause(pauses):
        if len(pauses) == 3:
            serve(port=port)
        return False

    stop = Pauses(start_in_the_third_pause)
    connect(Target(port=port), wait=60, say=lines.append, stop=stop).close()
    assert len(stop.pauses) == 3
    assert lines == [f"waiting up to 1m for 127.0.0.1:{port} (REFUSED)"]


def test_the_pauses_grow_and_then_stay(free_port):
    stop = Pauses(lambda pauses: len(pauses) == 12)
    with pytest.raises(RefusedError):
        connect(Target(port=free_port), wait=60, stop=stop)
    assert stop.pauses == sorted(stop.pauses)
    assert stop.pauses[0] < 0.1
    assert stop.pauses[-1] == LONGEST_PAUSE


def test_waiting_ends_at_the_deadline(free_port):
    with pytest.raises(RefusedError, match="connection refused; gave up after 200ms"):
        connect(Target(port=free_port), wait=0.2)


def test_another_thread_can_stop_the_waiting(free_port):
    stop = threading.Event()
    with pytest.raises(RefusedError):
        # The first message says that the wait begins.
        connect(Target(port=free_port), wait=3600, say=lambda _: stop.set(), stop=stop)


def test_a_reset_is_told_from_an_end(serve):
    def rude(connection):
        read_exactly(connection, 5)
        reset(connection)

    with connect(Target(port=serve(rude).port)) as session:
        session.send(b"hello")
        with pytest.raises(ResetError, match=r"^RESET 127\.0\.0\.1:\d+: connection reset by the server$"):
            session.receive()


def test_sending_after_the_server_has_gone_is_closed(serve):
    with connect(Target(port=serve(lambda _: None).port)) as session:
        assert session.receive() == b""
        with pytest.raises(ClosedError):
            # The first part is still taken; only the RST that answers it shows the failure.
            session.send(b"x" * 10_000_000)


def test_shutdown_wakes_a_receiver(serve):
    with connect(Target(port=serve().port)) as session:
        results = []
        thread = threading.Thread(target=lambda: results.append(session.receive()))
        thread.start()
        session.shutdown()
        thread.join()
        assert results == [b""]
        session.half_close()  # the connection has ended: nothing happens


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), RefusedError),
        (TimeoutError("timed out"), TimedOutError),
        (TimeoutError(110, "Connection timed out"), TimedOutError),
        (ConnectionResetError(104, "Connection reset by peer"), ResetError),
        (BrokenPipeError(32, "Broken pipe"), ClosedError),
        (OSError(113, "No route to host"), ClientError),
        (OSError("no errno at all"), ClientError),
        (socket.gaierror(-3, "Temporary failure in name resolution"), ResolveError),
    ],
)
def test_every_failure_has_its_word(error, kind):
    classified = from_os_error(error, "target")
    assert type(classified) is kind
    assert str(classified).startswith(f"{kind.word} target: ")
    assert len(str(classified).splitlines()) == 1


def test_ipv6():
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        with connect(Target("::1", port)) as session:
            assert session.peer == f"[::1]:{port}"
