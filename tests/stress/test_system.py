"""A system that fails or runs short: descriptors, threads, accept, and every way in which a log can fail."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from server.kit import Peer
from stress.kit import (
    Under,
    cpu_seconds,
    eventually,
    p99,
    pause,
    stats_of,
    stop,
    tool,
)
from support import Program, command, run

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120)]


def inject(calls: str, error: str, when: str) -> list[str]:
    """Return the command prefix that makes system calls of a program fail; the program stays our child (strace -D)."""
    return [
        *(tool("strace"), "-D", "-f", "-qq", "-o", os.devnull),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"),
    ]


def run_tool(name: str, *arguments: object) -> None:
    subprocess.run([tool(name), *map(str, arguments)], check=True, timeout=20)


# -- descriptors


def test_a_limit_that_the_descriptors_do_not_allow_is_refused(mode):
    started = [tool("prlimit"), "--nofile=64:64", *command("serve", "--port", 0, "--mode", mode)]
    with Program(arguments=started) as program:
        program.wait_for_line("max_connections: 1024 is refused: must be at most 32, since this process may open 64")
        assert program.finish() == 2


def test_sixty_four_descriptors(serve, figures):
    """Lower the limit of a running server, so that it runs out of descriptors while it is serving."""
    server = serve()
    pid = server.process.pid
    run_tool("prlimit", "--pid", pid, "--nofile=64:")
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(100)]
        for peer in peers:
            peer.send(b"hello")
        server.wait_for("cannot accept for now", error="EMFILE")
        served = stats_of(server)["active"]
        figures.note("connections served with 64 descriptors", served)
        assert 30 <= served < 64
        began, used = monotonic(), cpu_seconds(pid)
        pause(5.0)
        figures.hold(
            "processor use while short of descriptors (%)",
            100 * (cpu_seconds(pid) - used) / (monotonic() - began),
            most=5,
        )
        # Connected peers are served all the while.
        assert [peer.read(5) for peer in peers[:served]] == [b"hello"] * served
        began = monotonic()
        for peer in peers[:served]:
            peer.close()
        # Once descriptors are free again, so are the others.
        for peer in peers[served:]:
            assert peer.read(5) == b"hello"
        figures.hold("full service after (s)", monotonic() - began, most=1)
    summary_lines = [json.loads(line) for line in lines_until_stopped(server)]
    warned = [line["timestamp"] for line in summary_lines if line["event"] == "cannot accept for now"]
    apart = [_seconds(later) - _seconds(earlier) for earlier, later in pairwise(warned)]
    figures.hold("shortest time between two log lines about it (s)", min(apart), least=0.99)


def _seconds(timestamp: str) -> float:
    hours, minutes, seconds = timestamp.partition("T")[2].partition("+")[0].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def lines_until_stopped(server: Program) -> list[str]:
    stop(server)
    return server._read


# -- threads


def test_no_more_threads_can_be_started(mode, figures):
    """From some number on, clone(2) fails. strace counts the calls of each thread; here it is the acceptor's count."""
    prefix = inject("clone,clone3", "EAGAIN", "20+")
    with Under(prefix, "--mode", mode, "--workers", 4, "--max-connections", 30) as server, ExitStack() as stack:
        peers, refused = [], 0
        for _ in range(60):
            peer = stack.enter_context(Peer(("127.0.0.1", server.port)))
            try:
                assert peer.exchange(b"x") == b"x"
                peers.append(peer)
            except (AssertionError, ConnectionError):
                refused += 1
            if len(peers) == 29:
                break
        figures.note("served and refused", f"{len(peers)} and {refused}")
        # A peer sees the end of its connection just before it is counted.
        assert eventually(lambda: stats_of(server)["active"] == len(peers))
        stats = stats_of(server)
        assert stats["accepted"] == stats["active"] + sum(stats["closed"].values())
        assert (stats["active"], stats["closed"]["killed"]) == (len(peers), refused)
        if mode == "threads":
            assert len(peers) == 19
            assert refused == 41, "more than there are slots, so each slot was released"
            # A thread that becomes idle serves the next connection.
            peers.pop().close()
            assert eventually(lambda: stats_of(server)["active"] == len(peers))
            with Peer(("127.0.0.1", server.port)) as peer:
                assert peer.exchange(b"again") == b"again"
        else:
            assert refused == 0, "a connection needs no thread here"
        assert all(peer.exchange(b"still") == b"still" for peer in peers)
        stack.close()
        stop(server)


# -- accept


@pytest.mark.parametrize("error", ["ECONNABORTED", "EPROTO", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM"])
def test_accept_fails_for_a_while(mode, error, figures):
    with Under(inject("accept4", error, "1..3"), "--mode", mode) as server:
        began = monotonic()
        with Peer(("127.0.0.1", server.port)) as peer:
            assert peer.exchange(b"hello") == b"hello"
        figures.hold("served after three failures (s)", monotonic() - began, most=1)
        if error not in ("ECONNABORTED", "EPROTO"):
            assert server.wait_for("cannot accept for now")["error"] == error
        assert stop(server)["accepted"] == 1


@pytest.mark.parametrize("error", ["EINVAL", "EBADF"])
def test_accept_fails_permanently(mode, error):
    with Under(inject("accept4", error, "1+"), "--mode", mode) as server:
        with Peer(("127.0.0.1", server.port)) as peer:
            server.wait_for("cannot go on serving")
            assert peer.read_to_break() == b""
        server.wait_for_line("echoserver: cannot go on serving")
        assert server.finish() == 1


# -- the log


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def logging_to(path: str, mode: str) -> Iterator[tuple[str, int]]:
    """Run a server whose log goes to a file; yield its address once it listens."""
    address = ("127.0.0.1", free_port())
    served = command("serve", "--port", address[1], "--mode", mode, "--log-format", "json")
    with Program(arguments=["sh", "-c", f'exec "$@" 2>{path}', "sh", *served]) as program:
        assert eventually(lambda: _listens(address))
        yield address
        program.process.terminate()
        assert program.process.wait(20) == 0


def churn(address: tuple[str, int], connections: int) -> list[float]:
    """Connect, exchange and leave that many times; return how long each took. No connection may be lost."""
    took = []
    for number in range(connections):
        began = monotonic()
        with Peer(address) as peer:
            message = b"%08d" % number
            assert peer.exchange(message) == message
        took.append(monotonic() - began)
    return took


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def compare_with(healthy: tuple[str, int], impaired: tuple[str, int], figures) -> None:
    """Compare a server with one whose log works, in interleaved rounds."""
    rounds = [(p99(churn(healthy, 300)), p99(churn(impaired, 300))) for _ in range(7)]
    without, under = _median([one for one, _ in rounds]), _median([other for _, other in rounds])
    figures.note("p99 of a connection with a working log (ms)", without * 1000)
    figures.hold("p99, relative to that", under / without, most=2)


def test_nothing_reads_the_log(mode, serve, figures):
    """The pipe fills up, then the queue, then lines are dropped. Connections are not."""
    impaired = serve()
    churn(impaired.address, 20_000)
    with logging_to("/dev/null", mode) as healthy:
        compare_with(healthy, impaired.address, figures)
    summary = stop(impaired)  # also reads the whole log
    figures.hold("connections lost", 20_000 + 2100 - summary["closed"]["eof"], most=0)
    lines = [json.loads(line) for line in impaired._read]
    ended = sum(line["event"] == "connection ended" for line in lines)
    dropped = sum(line["lines"] for line in lines if line["event"] == "log lines dropped")
    figures.note("log lines written and dropped", f"{ended} and {dropped}")
    assert dropped > 0
    assert ended + dropped >= summary["accepted"]


def test_the_reader_of_the_log_is_gone(mode, serve, figures):
    impaired = serve()
    impaired._output.close()
    churn(impaired.address, 1000)
    with logging_to("/dev/null", mode) as healthy:
        compare_with(healthy, impaired.address, figures)
    impaired.process.terminate()
    assert impaired.process.wait(20) == 0


def test_the_disk_of_the_log_is_full(mode, figures):
    with logging_to("/dev/null", mode) as healthy, logging_to("/dev/full", mode) as impaired:
        churn(impaired, 1000)
        compare_with(healthy, impaired, figures)


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0


def test_a_bad_value_of_any_kind_is_one_line(mode):
    for options in (["--rate-limit", "fast"], ["--trusted", "home"], ["--rate-limit", "1/s", "--rate-burst", "1kB"]):
        refused = run("serve", "--mode", mode, *options)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert options[-2] in refused.stderr


def test_the_server_that_measures_is_the_one_that_was_started():
    """A test of the kit: figures are those of the serving process, even if another program started it."""
    with Under(inject("accept4", "EMFILE", "1..1")) as server, Peer(("127.0.0.1", server.port)) as peer:
        assert peer.exchange(b"x") == b"x"
        assert b"strace" not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
