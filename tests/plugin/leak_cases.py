"""Tests that leave something behind, each in a file of its own: who is guilty of it, and who is not.

Each begins with `START`.
"""

from __future__ import annotations

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
    "what_a_server_of_the_module_accepts_in_this_thread": """
@pytest.fixture(scope="module")
def server():
    def greet(reader, writer):
        writer.write(b"x")
        kept.append(writer)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(greet, "127.0.0.1", 0))
    yield loop, server.sockets[0].getsockname()
    server.close()

def test_it(server):
    async def run(address):
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read(1) == b"x"
        writer.close()
        await writer.wait_closed()

    loop, address = server
    loop.run_until_complete(run(address))
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
