"""Reloads and deaths of processes under load: nobody is refused, reset, left unanswered, or sent wrong bytes."""

from __future__ import annotations

import os
import random
import signal
import socket
from pathlib import Path
from time import monotonic

import pytest

from stress.kit import Figures, descriptor_count, eventually, pause, resident
from stress.rehearsal_kit import Connect, Generator, Peers, Quiet, over_tcp, over_tls, over_unix, swap
from supervisor.kit import Crew

pytestmark = [pytest.mark.stress, pytest.mark.timeout(180)]
RELOADS, SILENT, STREAMS = 20, 50, 10


def endpoints(over: str, tmp_path: Path, certificates) -> list[object]:
    """Return the options for an endpoint."""
    if over == "unix":
        return ["--listen", f"unix:{tmp_path}/echo.sock"]
    if over == "tls":
        files = ["--tls-cert", certificates.cert, "--tls-key", certificates.key]
        return ["--listen", "tls://127.0.0.1:0", *files]
    return ["--listen", "tcp://127.0.0.1:0"]


@pytest.mark.parametrize("over", ["tcp", "unix", "tls"])
def test_twenty_reloads_are_noticed_by_nobody(mode, over, tmp_path, request, figures: Figures):
    certificates = request.getfixturevalue("certificates") if over == "tls" else None
    options = endpoints(over, tmp_path, certificates)
    with Quiet("--mode", mode, *options, cwd=tmp_path) as crew:
        connect: Connect
        if over == "unix":
            connect = over_unix(tmp_path / "echo.sock")
        else:
            port = crew.port()
            connect = over_tls(port) if over == "tls" else over_tcp(port)
        silent = [connect() for _ in range(SILENT)]
        with Peers(connect) as peers:
            peers.start(peers.stream, STREAMS)
            peers.start(peers.come_and_go, 4)
            generators = [] if over == "unix" else [Generator(port, 60, tls=over == "tls")]
            for _ in range(RELOADS):
                early = [connect() for _ in range(5)]
                crew.reload()
                for peer in early:  # silent until the process that has it has retired
                    assert swap(peer, b"after the reload") == b"after the reload"
                    peer.close()
                assert not peers.failures
            for peer in silent:
                assert swap(peer, b"after all reloads") == b"after all reloads"
                peer.close()
            for generator in generators:
                assert generator.is_running, generator.finish()
                generator.__exit__()
            peers.end()
            assert peers.failures == []
            figures.note("reloads", RELOADS)
            figures.note("connections of the peers in Python", peers.exchanged)
            figures.note("bytes streamed", peers.bytes)
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0
    assert [line for line in crew.lines if "Traceback" in line] == []


def test_a_hundred_deaths_under_load_harm_no_other_connection(mode, figures: Figures):
    """One random worker is killed again and again. Peers whose process dies see the end of their connection."""
    rng = random.Random(1)
    with Crew("--mode", mode, processes=3) as crew:
        supervisor = crew.process.pid
        connect = over_tcp(crew.address[1])
        assert eventually(lambda: len(crew.workers) == 3)
        before_files, before_memory = descriptor_count(supervisor), 0
        slowest = 0.0
        for round_number in range(100):
            peers = connected_everywhere(connect, 9)
            victim = rng.choice(list(crew.workers.values()))
            os.kill(victim, signal.SIGKILL)
            died = crew.wait_for("process died", pid=victim)
            begun = monotonic()
            assert eventually(lambda: len(crew.workers) == 3, 5)
            slowest = max(slowest, monotonic() - begun)
            harmed = sum(not is_alive(peer) for peer in peers)
            assert harmed == died["lost"], "others were harmed, or not all counted"
            for peer in peers:
                peer.close()
            assert eventually(lambda: crew.stats()["active"] == 0)
            if round_number == 10:
                before_memory = resident(supervisor)
        stats = crew.stats()
        figures.note("lost", stats["closed"]["lost"])
        figures.hold("slowest replacement, s", slowest, most=1.0)
        figures.hold("descriptors of the supervisor", descriptor_count(supervisor) - before_files, most=0)
        figures.hold("memory of the supervisor", resident(supervisor) / before_memory, most=1.02)
        crew.send_signal(signal.SIGTERM)
        assert crew.finish() == 0


def connected_everywhere(connect: Connect, count: int) -> list[socket.socket]:
    peers = []
    for _ in range(count):
        peer = connect()
        assert swap(peer, b"hello") == b"hello"
        peers.append(peer)
    return peers


def is_alive(peer: socket.socket) -> bool:
    try:
        return swap(peer, b"still here") == b"still here"
    except (OSError, EOFError):
        return False


def test_an_idle_worker_costs_little_memory_of_its_own(mode, figures: Figures):
    with Crew("--mode", mode, processes=2) as crew:
        for peer in connected_everywhere(over_tcp(crew.address[1]), 40):
            peer.close()
        pause(1)
        for name, pid in crew.workers.items():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private"))
            figures.hold(f"private memory of {name}, kB", private, most=8192)
