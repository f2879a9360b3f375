"""Threads that wake one another for every byte, on all cores and on one, for chapter 5."""

import os
import socket
import threading
import time

PAIRS, SECONDS = 8, 0.4
CAN_PIN = hasattr(os, "sched_setaffinity")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if CAN_PIN else os.cpu_count() or 1


def round_trips() -> float:
    """Let pairs of threads send a byte to and fro, and return the round trips per second of all pairs."""
    ends, counts = [socket.socketpair() for _ in range(PAIRS)], [0] * PAIRS
    over = time.perf_counter() + SECONDS

    def ask(pair: int) -> None:
        with ends[pair][0] as sock:
            while time.perf_counter() < over:
                sock.send(b"?")
                counts[pair] += len(sock.recv(1))

    def answer(pair: int) -> None:
        with ends[pair][1] as sock:
            while data := sock.recv(1):
                sock.send(data)

    threads = [threading.Thread(target=work, args=(pair,)) for pair in range(PAIRS) for work in (ask, answer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def measure() -> dict[str, float]:
    """Return the round trips per second on all cores, and on one where this platform lets a thread choose its cores."""
    trips = {"on all cores": round_trips()}
    if CAN_PIN:
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})  # the threads that this one starts run there too
        try:
            trips["on one core"] = round_trips()
        finally:
            os.sched_setaffinity(0, allowed)
    return trips
