"""A soak test: peers of every kind against both modes for a while, then a verdict.

    python tests/stress/soak.py --seconds 60

The exit code is 0 if every byte was correct and nothing leaked, 1 if not, and 2 for bad usage. Progress goes to
standard error, the verdict to standard output.
"""

from __future__ import annotations

import argparse
import random
import socket
import struct
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from server.kit import Peer  # noqa: E402
from stress.kit import (  # noqa: E402
    Started,
    descriptor_count,
    eventually,
    pause,
    resident,
    stats_of,
    stop,
    thread_count,
)

PEERS_AT_ONCE = 12
SIZES = [0, 1, 64, 1000, 65_535, 65_536, 65_537, 262_144, 1_048_576]
MEMORY_PERCENT = 10
LEGS = 3
"""How often to apply load and then rest. A leak shows as growth from one rest to the next."""
COLOUR = sys.stdout.isatty()


@dataclass
class Totals:
    """What the peers found. The lock guards all fields, since the peers run in many threads."""

    lock: Lock = field(default_factory=Lock)
    connections: int = 0
    verified: int = 0
    wrong: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, expected: bytes, received: bytes, *, complete: bool) -> None:
        """Count a peer's bytes: all that were sent, or, if the reply may be incomplete, any number from the start."""
        correct = received == expected if complete else expected.startswith(received)
        with self.lock:
            self.connections += 1
            self.verified += len(received) if correct else 0
            self.wrong += 0 if correct else 1 + sum(a != b for a, b in zip(received, expected, strict=False))

    def fail(self, what: str) -> None:
        with self.lock:
            self.connections += 1
            self.failures.append(what)


# -- kinds of peers: each returns what it sent, what came back, and whether that must be complete


def half_closer(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    with Peer(address) as peer:
        return payload, peer.swap(payload), True


def talker(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    payload, received = payload[:100_000], b""
    with Peer(address) as peer:
        for start in range(0, len(payload), 5000):
            received += peer.exchange(payload[start : start + 5000])
    return payload, received, True


def resetter(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    received = b""
    with Peer(address) as peer:
        sent = peer.send_what_fits(payload)
        if sent:
            received = peer.sock.recv(chance.randrange(1, sent + 1))
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return payload, received, False


def slow_reader(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    received, never = bytearray(), Event()
    with Peer(address, receive_buffer=16384) as peer:
        sent = peer.send_what_fits(payload)
        while len(received) < sent:
            never.wait(0.002)
            data = peer.sock.recv(min(16384, sent - len(received)))
            if not data:
                break
            received += data
        return payload[:sent], bytes(received), True


def pipeliner(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    """Send many small messages before reading any reply."""
    with Peer(address) as peer:
        for start in range(0, min(len(payload), 64_000), 64):
            peer.send(payload[start : min(start + 64, 64_000)])
        return payload[:64_000], peer.read(min(len(payload), 64_000)), True


KINDS = [half_closer, talker, resetter, slow_reader, pipeliner]


def one_peer(address: tuple[str, int], seed: int, totals: Totals) -> None:
    chance = random.Random(seed)
    kind = chance.choice(KINDS)
    payload = chance.randbytes(chance.choice(SIZES))
    try:
        sent, received, complete = kind(address, chance, payload)
    except Exception as error:
        if kind is resetter and isinstance(error, ConnectionError):
            totals.add(payload, b"", complete=False)
        else:
            totals.fail(f"{kind.__name__} of {len(payload)} bytes, seed {seed}: {error!r}")
    else:
        totals.add(sent, received, complete=complete)


# -- a run


def soak(mode: str, seconds: float, seed: int) -> bool:
    """Soak one mode; print its verdict and return whether it passed."""
    totals = Totals()
    server = Started("--mode", mode)
    try:
        rests = []
        for leg in range(LEGS):
            run_for(seconds / LEGS, server, totals, seed + leg * 1_000_000, f"{mode} {leg + 1}/{LEGS}")
            rests.append(at_rest(server))
        stats = stats_of(server)
        stop(server)
    finally:
        server.__exit__()
    problems = list(totals.failures[:5])
    if totals.wrong:
        problems.append(f"{totals.wrong} bytes wrong")
    if stats["active"] or stats["accepted"] != sum(stats["closed"].values()):
        problems.append(f"the counters don't balance: {stats['accepted']} accepted, {stats['active']} open")
    grown = {what: rests[-1][what] - rests[0][what] for what in ("descriptors", "threads")}
    problems += [f"{count} {what} leaked" for what, count in grown.items() if count > 0]
    # What the allocator keeps varies by several percent. A leak exceeds all earlier rests.
    highest = max(rest["memory"] for rest in rests[:-1])
    growth = 100 * (rests[-1]["memory"] - highest) / highest
    if growth > MEMORY_PERCENT:
        problems.append(f"memory at rest grew by {growth:.1f} %")
    verdict = painted("31", "FAILED") if problems else painted("32", "OK")
    print(
        f"{mode}: {verdict}  {totals.verified:,} bytes verified, {totals.wrong} wrong, "
        f"{totals.connections:,} connections, {len(totals.failures)} failed; at rest: "
        f"descriptors {grown['descriptors']:+}, threads {grown['threads']:+}, memory {growth:+.1f} %",
        flush=True,
    )
    for problem in problems:
        print(f"  {problem}")
    return not problems


def run_for(seconds: float, server: Started, totals: Totals, seed: int, label: str) -> None:
    began, shown = monotonic(), 0.0
    with ThreadPoolExecutor(PEERS_AT_ONCE) as pool:
        running = set()
        while (now := monotonic()) < began + seconds:
            while len(running) < PEERS_AT_ONCE:
                seed += 1
                running.add(pool.submit(one_peer, server.address, seed, totals))
            _, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            if now >= shown + 1:
                shown = now
                stats_of(server)  # also reads its log, which would otherwise fill the pipe
                progress(
                    f"{label}: {now - began:.0f} of {seconds:.0f} s, {totals.connections:,} connections, "
                    f"{totals.verified / 1e6:,.0f} MB verified, {totals.wrong} wrong, {len(totals.failures)} failed"
                )
    if sys.stderr.isatty():
        progress("")


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


def at_rest(server: Started) -> dict[str, Any]:
    """Wait until no connection is open and idle threads have ended; return what the process holds."""
    pid = server.process.pid
    if not eventually(lambda: stats_of(server)["active"] == 0):
        print("  connections stay open after their peers have left")
    # An idle thread waits five seconds for another connection.
    pause(6.0)
    return {"descriptors": descriptor_count(pid), "threads": thread_count(pid), "memory": resident(pid)}


def painted(colour: str, text: str) -> str:
    import os

    return f"\033[{colour}m{text}\033[0m" if COLOUR and not os.environ.get("NO_COLOR") else text


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak both modes with peers of every kind, and report a verdict.")
    parser.add_argument("--seconds", type=float, default=60.0, help="total time for both modes (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random peers; repeats a run (default: 1)")
    options = parser.parse_args()
    if not 4 <= options.seconds <= 1e6:
        parser.error("--seconds must be from 4 to 1000000")
    passed = {mode: soak(mode, options.seconds / 2, options.seed) for mode in ("threads", "workers")}
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
