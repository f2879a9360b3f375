"""A test that leaves a socket of its own open fails, and no other test does."""

from __future__ import annotations

import re

import pytest

from plugin.kit import Runs, outcomes, text_of

pytest_plugins = ["pytester"]

# Each test is alone in its process, so that what it leaves behind concerns no other.
START = """
import asyncio
import gc
import socket
import socketserver
import threading

import pytest

pytestmark = pytest.mark.tcp_leaks
kept = []


def connect(server):
    return socket.create_connection(server.address, 10)

"""

GUILTY = {
    "a socket": """
def test_it(echo_server):
    kept.append(connect(echo_server))
""",
    "a socket of a function-scoped fixture": """
@pytest.fixture
def client(echo_server):
    kept.append(connect(echo_server))

def test_it(client):
    pass
""",
    "a socket that another thread makes": """
def test_it(echo_server):
    thread = threading.Thread(target=lambda: kept.append(connect(echo_server)))
    thread.start()
    thread.join()
""",
    "a socket that the server has closed": """
def test_it(echo_server):
    kept.append(connect(echo_server))
    echo_server.stop()
    assert kept[0].recv(1) == b""
""",
    "a duplicate": """
def test_it(echo_server):
    with connect(echo_server) as client:
        kept.append(client.dup())
""",
    "an asyncio transport": """
def test_it(echo_server):
    async def run():
        loop = asyncio.get_running_loop()
        kept.append(await loop.create_connection(asyncio.Protocol, *echo_server.address))

    asyncio.run(run())
""",
    "a stream of a loop that goes on": """
def test_it(echo_server):
    loop = asyncio.new_event_loop()
    kept.append(loop)
    kept.append(loop.run_until_complete(asyncio.open_connection(*echo_server.address)))
""",
}

INNOCENT = {
    "closed sockets": """
def test_it(echo_server):
    with connect(echo_server) as client, socket.fromfd(client.fileno(), client.family, client.type) as other:
        assert client.fileno() != other.fileno()
    client = connect(echo_server)
    file = client.makefile("rwb")
    client.close()
    file.close()
    kept.append(client)
""",
    "a socket that a fixture closes": """
@pytest.fixture
def client(echo_server):
    client = connect(echo_server)
    yield client
    client.close()

def test_it(client):
    pass
""",
    "a socket that was made by a fixture of the module, which this test is the first to use": """
@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname(), 10):
        yield listener

def test_it(listener):
    pass
""",
    "the sockets that a server of the module accepts": """
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def finish_request(self, request, address):
        kept.append(request)
        request.recv(1)

@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()

def test_it(server):
    with socket.create_connection(server.server_address, 10) as client:
        client.sendall(b"x")
        assert client.recv(1) == b""
""",
    "an event loop, and a pair of sockets": """
def test_it(echo_server):
    kept.append(asyncio.new_event_loop())
    kept.append(socket.socketpair())
""",
    "the servers of the test and their addresses": """
def test_it(tcp_server):
    server = tcp_server()
    kept.append((server, server.refused_address()))
""",
    "streams of asyncio that are closed": """
def test_it(echo_server):
    async def run():
        reader, writer = await asyncio.open_connection(*echo_server.address)
        writer.write(b"hello")
        assert await reader.read(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        kept.append(writer)

    asyncio.run(run())
""",
    "a datagram socket": """
def test_it():
    kept.append(socket.socket(type=socket.SOCK_DGRAM))
""",
    "a test that is exempt": """
@pytest.mark.tcp_leaks(False)
def test_it(echo_server):
    kept.append(connect(echo_server))
""",
}


@pytest.mark.parametrize("source", GUILTY.values(), ids=GUILTY)
def test_who_leaves_this_open_is_accused(runs: Runs, source):
    result = runs(START + source)
    assert outcomes(result) == {"passed": 1, "errors": 1}
    assert (
        "test_it left 1 TCP socket open:\n  127.0.0.1:N -> 127.0.0.1:N, 0 bytes sent, 0 received, made at\n"
        in text_of(result)
    )
    assert re.search(r"\n    \S*test_it.py:\d+ in \S+\n      \S", text_of(result))


@pytest.mark.parametrize("source", INNOCENT.values(), ids=INNOCENT)
def test_who_leaves_this_is_not_accused(runs: Runs, source):
    result = runs(START + source)
    assert outcomes(result) == {"passed": 1}


COLLECTED = {
    "a local variable": """
def test_it(echo_server):
    client = connect(echo_server)
""",
    "a cycle": """
def test_it(echo_server):
    client = [connect(echo_server)]
    client.append(client)
""",
    "a stream of asyncio": """
def test_it(echo_server):
    async def run():
        reader, writer = await asyncio.open_connection(*echo_server.address)

    asyncio.run(run())
""",
}


@pytest.mark.parametrize("source", COLLECTED.values(), ids=COLLECTED)
def test_what_the_garbage_collector_closes_is_a_warning(runs: Runs, source):
    result = runs(START + source)
    assert outcomes(result) == {"passed": 1, "warnings": 1}
    assert re.search(r"test_it.py:\d+: UnclosedSocketWarning: test_it left a TCP socket to the", text_of(result))
    only_ours = "error::echoserver.pytest_plugin.UnclosedSocketWarning"
    assert outcomes(runs(START + source, "-W", only_ours)) == {"passed": 1, "errors": 1}


def test_the_accusation_says_what_was_moved_and_lists_all(runs: Runs):
    source = """
def test_it(echo_server):
    kept.append(connect(echo_server))
    kept[0].sendall(b"hello")
    assert kept[0].recv(3) == b"hel"
    kept.append(socket.create_server(("127.0.0.1", 0)))
    kept.append(socket.socket())
"""
    text = text_of(runs(START + source))
    assert "test_it left 3 TCP sockets open:\n  127.0.0.1:N -> 127.0.0.1:N, 5 bytes sent, 5 received, made at\n" in text
    assert "      kept.append(connect(echo_server))\n  listening on 127.0.0.1:N, made at\n" in text
    assert '      kept.append(socket.create_server(("127.0.0.1", 0)))\n  0.0.0.0:0, not connected, made at\n' in text


def test_a_test_that_fails_is_not_accused_as_well(runs: Runs):
    source = """
def test_it(echo_server):
    client = connect(echo_server)
    kept.append(client)
    raise AssertionError

def test_setup(echo_server, nonsense):
    pass

def test_skipped(echo_server):
    kept.append(connect(echo_server))
    pytest.skip()
"""
    assert outcomes(runs(START + source)) == {"failed": 1, "errors": 1, "skipped": 1}


def test_one_option_checks_all_tests(runs: Runs):
    source = (
        START.replace("pytestmark", "unused")
        + GUILTY["a socket"]
        + INNOCENT["a test that is exempt"].replace("it(", "that(")
    )
    assert outcomes(runs(source)) == {"passed": 2}
    runs.pytester.makeini("[pytest]\ntcp_leaks = true\n")
    result = runs(source)
    assert outcomes(result) == {"passed": 2, "errors": 1}
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*"])


def test_nothing_stays_replaced(runs: Runs):
    source = """
originals = [vars(socket.socket)[name] for name in ("__init__", "_real_close", "detach")]
finalizer = asyncio.StreamWriter.__del__

def test_it(echo_server):
    assert socket.socket.__init__ is not originals[0]
    assert asyncio.StreamWriter.__del__ is not finalizer

@pytest.mark.tcp_leaks(enabled=False)
def test_after_it():
    assert [vars(socket.socket)[name] for name in ("__init__", "_real_close", "detach")] == originals
    assert asyncio.StreamWriter.__del__ is finalizer

@pytest.fixture
def failing(echo_server):
    yield
    raise AssertionError

def test_teardown(failing):
    pass

test_after_that = test_after_it
"""
    assert outcomes(runs(START + source)) == {"passed": 4, "errors": 1}


def test_what_another_tool_has_replaced_meanwhile_is_left(runs: Runs):
    source = """
def test_it():
    theirs = socket.socket.detach
    socket.socket.detach = lambda sock: theirs(sock)
    kept.append(socket.socket.detach)

@pytest.mark.tcp_leaks(False)
def test_after_it(echo_server):
    assert socket.socket.detach is kept[0]
    client = connect(echo_server)
    socket.close(client.detach())
"""
    assert outcomes(runs(START + source, "-W", "error")) == {"passed": 2}
