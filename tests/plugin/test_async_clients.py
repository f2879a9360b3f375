"""The fixtures and the check serve tests of asynchronous clients, with the two plugins that run these."""

from __future__ import annotations

import re

import pytest

from plugin.kit import Runs, outcomes, text_of

pytest_plugins = ["pytester"]

ASYNCIO = """
import asyncio

import pytest
import pytest_asyncio

pytestmark = [pytest.mark.asyncio, pytest.mark.tcp_leaks]
kept = []


@pytest_asyncio.fixture
async def streams(echo_server):
    reader, writer = await asyncio.open_connection(*echo_server.address)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def test_fixture(streams):
    reader, writer = streams
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"


async def test_kill(tcp_server):
    server = tcp_server(mode="workers")
    reader, writer = await asyncio.open_connection(*server.address)
    (connection,) = await asyncio.to_thread(server.wait_for_connections, 1)
    server.kill(connection)
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()


async def test_left(echo_server):
    loop = asyncio.get_running_loop()
    kept.append(await loop.create_connection(asyncio.Protocol, *echo_server.address))


async def test_collected(echo_server):
    reader, writer = await asyncio.open_connection(*echo_server.address)
"""

ANYIO = """
import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.tcp_leaks]
kept = []


@pytest.fixture(params=["asyncio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
async def stream(echo_server):
    async with await anyio.connect_tcp(*echo_server.address) as stream:
        yield stream


async def test_fixture(stream):
    await stream.send(b"hello")
    assert await stream.receive() == b"hello"


async def test_kill(tcp_server):
    server = tcp_server()
    async with await anyio.connect_tcp(*server.address) as stream:
        (connection,) = await anyio.to_thread.run_sync(server.wait_for_connections, 1)
        server.kill(connection)
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_left(echo_server):
    kept.append(await anyio.connect_tcp(*echo_server.address))


async def test_collected(echo_server):
    stream = await anyio.connect_tcp(*echo_server.address)
"""


def check(result: pytest.RunResult) -> None:
    found = outcomes(result)
    assert (found["passed"], found["errors"], found["warnings"]) == (4, 1, 1)
    text = text_of(result)
    assert re.search(r"\ntest_left\S* left 1 TCP socket open:\n  127.0.0.1:N -> 127.0.0.1:N, 0 bytes sent, 0 rec", text)
    assert re.search("UnclosedSocketWarning: test_collected\\S* left a TCP socket to the garbage collector", text)


def test_pytest_asyncio(runs: Runs):
    pytest.importorskip("pytest_asyncio")
    check(runs(ASYNCIO, "-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function"))


def test_anyio(runs: Runs):
    pytest.importorskip("anyio")
    check(runs(ANYIO, "-p", "anyio"))


def test_anyio_on_trio(runs: Runs):
    pytest.importorskip("anyio")
    pytest.importorskip("trio")
    check(runs(ANYIO.replace('["asyncio"]', '["trio"]'), "-p", "anyio"))
