"""What is noted of sockets, where a whole run of pytest can't bring it about."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator

import pytest

from echoserver.pytest_plugin.leaks import LeakCheck
from echoserver.pytest_plugin.sockets import SocketWatch


@pytest.fixture
def watch() -> Iterator[SocketWatch]:
    watch = SocketWatch()
    watch.start()
    yield watch
    watch.stop()


def test_an_object_with_the_number_of_a_collected_one_is_not_taken_for_it(watch: SocketWatch):
    sock = socket.socket()
    number = id(sock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del sock
    watch.exempt = True
    others = []
    while not others or (id(others[-1]) != number and len(others) < 50):
        others.append(socket.socket())
    found = id(others[-1]) == number
    for other in others:
        other.close()
    if not found:
        pytest.skip("this interpreter did not use the memory again")
    (noted,) = watch.sockets()
    assert noted.collected


def test_a_socket_is_described_after_its_connection_was_reset(watch: SocketWatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), 10)
        served, _ = listener.accept()
        client.sendall(b"unread")
        while not served.recv(1, socket.MSG_PEEK):
            pass
        served.close()
        _, noted = watch.sockets()
        with client:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert noted.describe() == f"127.0.0.1:{client.getsockname()[1]}, not connected"
            assert noted.is_open
        assert noted.describe() == "a socket"
        assert (noted.is_open, noted.collected) == (False, False)


def test_nothing_stays_replaced_where_a_test_is_run_again_before_it_is_over():
    original = socket.socket.detach
    check = LeakCheck()
    check.start()
    check.start()
    check.pytest_runtest_logfinish()
    assert socket.socket.detach is original
