"""A soak: peers of every kind against both modes for a while, and then a verdict.

    python tests/stress/soak.py --seconds 60

Exit code 0: every byte was right and nothing leaked; 1: not so; 2: bad usage. Progress goes to standard error, the
verdict to standard output.
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
"""Load, rest, and again: leaks show between the rests."""
COLOUR = sys.stdout.isatty()


@dataclass
class Books:
    """What the peers found, under a lock: they run in many threads."""

    lock: Lock = field(default_factory=Lock)
    connections: int = 0
    verified: int = 0
    wrong: int = 0
    failures: list[str] = field(default_factory=list)

    def enter(self, expected: bytes, got: bytes, *, whole: bool) -> None:
        """Count a peer's bytes: as many as were sent, or any number from the beginning."""
        right = got == expected if whole else expected.startswith(got)
        with self.lock:
            self.connections += 1
            self.verified += len(got) if right else 0
            self.wrong += 0 if right else 1 + sum(a != b for a, b in zip(got, expected, strict=False))

    def fail(self, what: str) -> None:
        with self.lock:
            self.connections += 1
            self.failures.append(what)


# -- kinds of peers: each returns what it sent, what came back, and whether that must be all of it


def half_closer(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    with Peer(address) as peer:
        return payload, peer.swap(payload), True


def talker(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    payload, got = payload[:100_000], b""
    with Peer(address) as peer:
        for start in range(0, len(payload), 5000):
            got += peer.exchange(payload[start : start + 5000])
    return payload, got, True


def resetter(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    got = b""
    with Peer(address) as peer:
        sent = peer.send_what_fits(payload)
        if sent:
            got = peer.sock.recv(chance.randrange(1, sent + 1))
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return payload, got, False


def slow_reader(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    got, never = bytearray(), Event()
    with Peer(address, receive_buffer=16384) as peer:
        sent = peer.send_what_fits(payload)
        while len(got) < sent:
            never.wait(0.002)
            data = peer.sock.recv(min(16384, sent - len(got)))
            if not data:
                break
            got += data
        return payload[:sent], bytes(got), True


def pipeliner(address: tuple[str, int], chance: random.Random, payload: bytes) -> tuple[bytes, bytes, bool]:
    """Many small messages in flight, and the replies only then."""
    with Peer(address) as peer:
        for start in range(0, min(len(payload), 64_000), 64):
            peer.send(payload[start : min(start + 64, 64_000)])
        return payload[:64_000], peer.read(min(len(payload), 64_000)), True


KINDS = [half_closer, talker, resetter, slow_reader, pipeliner]


def one_peer(address: tuple[str, int], seed: int, books: Books) -> None:
    chance = random.Random(seed)
    kind = chance.choice(KINDS)
    payload = chance.randbytes(chance.choice(SIZES))
    try:
        sent, got, whole = kind(address, chance, payload)
    except Exception as error:
        if kind is resetter and isinstance(error, ConnectionError):
            books.enter(payload, b"", whole=False)
        else:
            books.fail(f"{kind.__name__} of {len(payload)} bytes, seed {seed}: {error!r}")
    else:
        books.enter(sent, got, whole=whole)


# -- a run


def soak(mode: str, seconds: float, seed: int) -> bool:
    """Soak one mode; print its verdict and return whether all was well."""
    books = Books()
    # Its log would be the soak's to read; the counters are asked for instead.
    server = Started("--mode", mode)
    try:
        rests = []
        for leg in range(LEGS):
            run_for(seconds / LEGS, server, books, seed + leg * 1_000_000, f"{mode} {leg + 1}/{LEGS}")
            rests.append(at_rest(server))
        stats = stats_of(server)
        stop(server)
    finally:
        server.__exit__()
    problems = list(books.failures[:5])
    if books.wrong:
        problems.append(f"{books.wrong} bytes wrong")
    if stats["active"] or stats["accepted"] != sum(stats["closed"].values()):
        problems.append(f"the books don't balance: {stats['accepted']} accepted, {stats['active']} open")
    grown = {what: rests[-1][what] - rests[0][what] for what in ("descriptors", "threads")}
    problems += [f"{count} {what} leaked" for what, count in grown.items() if count > 0]
    # What the allocator keeps goes up and down by several percent; a leak leaves all earlier rests behind.
    highest = max(rest["memory"] for rest in rests[:-1])
    growth = 100 * (rests[-1]["memory"] - highest) / highest
    if growth > MEMORY_PERCENT:
        problems.append(f"memory at rest grew by {growth:.1f} %")
    verdict = painted("31", "FAILED") if problems else painted("32", "OK")
    print(
        f"{mode}: {verdict}  {books.verified:,} bytes verified, {books.wrong} wrong, "
        f"{books.connections:,} connections, {len(books.failures)} failed; at rest: "
        f"descriptors {grown['descriptors']:+}, threads {grown['threads']:+}, memory {growth:+.1f} %",
        flush=True,
    )
    for problem in problems:
        print(f"  {problem}")
    return not problems


def run_for(seconds: float, server: Started, books: Books, seed: int, label: str) -> None:
    began, shown = monotonic(), 0.0
    with ThreadPoolExecutor(PEERS_AT_ONCE) as pool:
        running = set()
        while (now := monotonic()) < began + seconds:
            while len(running) < PEERS_AT_ONCE:
                seed += 1
                running.add(pool.submit(one_peer, server.address, seed, books))
            _, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            if now >= shown + 1:
                shown = now
                stats_of(server)  # this reads its log, which would else wait in its memory
                progress(
                    f"{label}: {now - began:.0f} of {seconds:.0f} s, {books.connections:,} connections, "
                    f"{books.verified / 1e6:,.0f} MB verified, {books.wrong} wrong, {len(books.failures)} failed"
                )
    if sys.stderr.isatty():
        progress("")


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


def at_rest(server: Started) -> dict[str, Any]:
    """Wait until nothing is open and the idle threads have gone, and return what the process holds."""
    pid = server.process.pid
    if not eventually(lambda: stats_of(server)["active"] == 0):
        print("  connections stay open although their peers have gone")
    # Threads stay for five seconds in case a connection comes.
    pause(6.0)
    return {"descriptors": descriptor_count(pid), "threads": thread_count(pid), "memory": resident(pid)}


def painted(colour: str, text: str) -> str:
    import os

    return f"\033[{colour}m{text}\033[0m" if COLOUR and not os.environ.get("NO_COLOR") else text


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak both modes with peers of every kind.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, for both modes together (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run's peers (default: 1)")
    given = parser.parse_args()
    if not 4 <= given.seconds <= 1e6:
        parser.error("--seconds must be from 4 to 1000000")
    well = {mode: soak(mode, given.seconds / 2, given.seed) for mode in ("threads", "workers")}
    return 0 if all(well.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
