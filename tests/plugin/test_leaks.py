"""A test that leaves a socket of its own open fails, and no other test does."""

from __future__ import annotations

import re

import pytest

from plugin.kit import Runs, outcomes, text_of

pytest_plugins = ["pytester"]

START = """
import asyncio
import gc
import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.tcp_leaks
kept = []


def connect(server):
    return socket.create_connection(server.address, 10)

"""

GUILTY = {
    "a_socket": """
def test_it(echo_server):
    kept.append(connect(echo_server))
""",
    "a_socket_of_a_function_scoped_fixture": """
@pytest.fixture
def client(echo_server):
    kept.append(connect(echo_server))

def test_it(client):
    pass
""",
    "a_socket_that_another_thread_makes": """
def test_it(echo_server):
    thread = threading.Thread(target=lambda: kept.append(connect(echo_server)))
    thread.start()
    thread.join()
""",
    "a_socket_that_the_server_has_closed": """
def test_it(echo_server):
    kept.append(connect(echo_server))
    echo_server.stop()
    assert kept[0].recv(1) == b""
""",
    "a_duplicate": """
def test_it(echo_server):
    with connect(echo_server) as client:
        kept.append(client.dup())
""",
    "an_asyncio_transport": """
def test_it(echo_server):
    async def run():
        loop = asyncio.get_running_loop()
        kept.append(await loop.create_connection(asyncio.Protocol, *echo_server.address))

    asyncio.run(run())
""",
    "a_stream_of_a_loop_that_goes_on": """
def test_it(echo_server):
    loop = asyncio.new_event_loop()
    kept.append(loop)
    kept.append(loop.run_until_complete(asyncio.open_connection(*echo_server.address)))
""",
}

INNOCENT = {
    "closed_sockets": """
def test_it(echo_server):
    with connect(echo_server) as client, socket.fromfd(client.fileno(), client.family, client.type) as other:
        assert client.fileno() != other.fileno()
    client = connect(echo_server)
    file = client.makefile("rwb")
    client.close()
    file.close()
    kept.append(client)
""",
    "a_socket_that_a_fixture_closes": """
@pytest.fixture
def client(echo_server):
    client = connect(echo_server)
    yield client
    client.close()

def test_it(client):
    pass
""",
    "a_socket_that_was_made_by_a_fixture_of_the_module_which_this_test_is_the_first_to_use": """
@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname(), 10):
        yield listener

def test_it(listener):
    pass
""",
    "the_sockets_that_a_server_of_the_module_accepts": """
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
    "a_socket_of_a_thread_that_a_fixture_of_the_module_has_started": """
@pytest.fixture(scope="module")
def background():
    with ThreadPoolExecutor(1) as pool, socket.create_server(("127.0.0.1", 0)) as listener:
        pool.submit(threading.get_ident).result()
        yield pool, listener.getsockname()

def test_it(background):
    pool, address = background
    kept.append(pool.submit(socket.create_connection, address, 10).result())
""",
    "an_event_loop_and_a_pair_of_sockets": """
def test_it(echo_server):
    kept.append(asyncio.new_event_loop())
    kept.append(socket.socketpair())
""",
    "the_servers_of_the_test_and_their_addresses": """
def test_it(tcp_server):
    server = tcp_server()
    kept.append((server, server.refused_address()))
""",
    "streams_of_asyncio_that_are_closed": """
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
    "a_datagram_socket": """
def test_it():
    kept.append(socket.socket(type=socket.SOCK_DGRAM))
""",
    "a_test_that_is_exempt": """
@pytest.mark.tcp_leaks(False)
def test_it(echo_server):
    kept.append(connect(echo_server))
""",
}


def run(runs: Runs, group: dict[str, str], *arguments: str) -> pytest.RunResult:
    return runs.files({name: START + source for name, source in group.items()}, *arguments)


def test_who_leaves_a_connection_open_is_accused(runs: Runs):
    result = run(runs, GUILTY)
    assert outcomes(result) == {"passed": len(GUILTY), "errors": len(GUILTY)}
    accusation = "test_it left 1 TCP socket open:\n  127.0.0.1:N -> 127.0.0.1:N, 0 bytes sent, 0 received, made at\n"
    assert text_of(result).count(accusation) == len(GUILTY)
    for name in GUILTY:
        assert re.search(rf"\n    \S*/test_{name}.py:\d+ in \S+\n      \S", text_of(result))


def test_nobody_else_is_accused(runs: Runs):
    assert outcomes(run(runs, INNOCENT)) == {"passed": len(INNOCENT)}


COLLECTED = {
    "a_local_variable": """
def test_it(echo_server):
    client = connect(echo_server)
""",
    "a_cycle": """
def test_it(echo_server):
    client = [connect(echo_server)]
    client.append(client)
""",
    "a_stream_of_asyncio": """
def test_it(echo_server):
    async def run():
        reader, writer = await asyncio.open_connection(*echo_server.address)

    asyncio.run(run())
""",
}


def test_what_the_garbage_collector_closes_is_a_warning(runs: Runs):
    result = run(runs, COLLECTED)
    assert outcomes(result) == {"passed": len(COLLECTED), "warnings": len(COLLECTED)}
    for name in COLLECTED:
        assert re.search(
            rf"test_{name}.py:\d+: UnclosedSocketWarning: test_it left a TCP socket to the", text_of(result)
        )
    only_ours = "error::echoserver.pytest_plugin.UnclosedSocketWarning"
    assert outcomes(run(runs, COLLECTED, "-W", only_ours)) == {"passed": len(COLLECTED), "errors": len(COLLECTED)}


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
        + GUILTY["a_socket"]
        + INNOCENT["a_test_that_is_exempt"].replace("it(", "that(")
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
