"""The solution of chapter 8: an event that says that there are jobs, and a consumer that takes them all."""

import threading
from collections import deque


class Inbox:
    """Jobs for one consumer. Any thread may put one."""

    def __init__(self) -> None:
        self.filled = threading.Event()
        self._jobs: deque[str] = deque()  # its `append` and `popleft` may be called by several threads

    def put(self, job: str) -> None:
        """Hand a job over."""
        self._jobs.append(job)
        self.filled.set()

    def take_all(self, timeout: float) -> list[str]:
        """Wait for jobs, and return all there are; none after so many seconds."""
        if not self.filled.wait(timeout):
            return []
        # Cleared first: a job that is put from here on sets the event again. It may be taken below, and then the next
        # call finds the event set and no job, which is harmless. Cleared last, it would sleep with a job in the inbox.
        self.filled.clear()
        taken = []
        while self._jobs:
            taken.append(self._jobs.popleft())
        return taken
