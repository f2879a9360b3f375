"""Locks under watch: who holds which lock and who waits for which, and from that, who is in a deadlock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from timeline import Timeline


class Watchdog:
    """Keep the books of some locks, and find the threads that will never get the lock they wait for."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._books = threading.Lock()  # guards the two dictionaries
        self._holder: dict[str, str] = {}  # by lock: the thread that holds it
        self._wanted: dict[str, str] = {}  # by thread: the lock that it waits for

    @contextmanager
    def locked(self, name: str, lock: threading.Lock | threading.RLock, patience: float) -> Iterator[None]:
        """Do what `with lock:` does, but keep the books, and end the thread when its patience (seconds) ends."""
        me = threading.current_thread().name
        with self._books:
            self._wanted[me] = name
        with self._line.waiting(f"for {name}"):
            acquired = lock.acquire(timeout=patience)
        with self._books:
            del self._wanted[me]
            before = self._holder.get(name, "")  # an RLock may be held by this thread already
            self._holder[name] = me if acquired else before
        if not acquired:
            self._line.say(f"I give up on {name}")
            raise SystemExit  # in a thread, this ends the thread
        try:
            with self._line.holding(name):
                yield
        finally:
            with self._books:
                self._holder[name] = before
            lock.release()

    def deadlocks(self) -> list[str]:
        """Say of each thread in a circle what it waits for, and who holds that."""
        with self._books:
            return [
                f"{thread} waits for {lock}, held by {self._holder[lock]}"
                for thread, lock in self._wanted.items()
                if self._waits_for_itself(thread)
            ]

    def _waits_for_itself(self, first: str) -> bool:
        """Go from the thread to the holder of what it wants, to the holder of what that one wants, and so on."""
        thread = first
        for _ in self._wanted:  # no circle is longer
            thread = self._holder.get(self._wanted.get(thread, ""), "")
            if thread == first:
                return True
        return False
