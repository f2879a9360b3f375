"""A worker: one thread that takes ready connections off the queue and serves them, an event at a time."""

from __future__ import annotations

from threading import Thread, get_ident
from time import monotonic

from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.sigpipe import hold_back_sigpipe
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.ready import ReadyQueue, Stop


class Worker(Thread):
    """One consumer of the queue. A daemon: one that a handler never lets go must not keep the process from ending.

    Parameters
    ----------
    number:
        Which of the workers this is, from 1.
    poller:
        Takes connections back.
    ready:
        The queue.
    affinity:
        Where the thread runs.

    """

    def __init__(self, number: int, poller: Poller, ready: ReadyQueue, affinity: Affinity) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.number = number
        # Written by this thread alone.
        self.events = 0
        self.queued_seconds = 0.0
        self.busy = False
        self.driver: NonBlockingDriver | None = None
        """What it serves; taken over by the janitor when it has died."""
        self.error: BaseException | None = None
        self.poller = poller
        self._ready = ready
        self._affinity = affinity
        self.buffer = ReceiveBuffer()

    def run(self) -> None:
        """Serve what comes off the queue, until the stop sign."""
        try:
            hold_back_sigpipe()
            self._affinity.pin()
            self._identity = get_ident()  # one object for all connections
            while self._serve_next():
                pass
        except BaseException as error:  # noqa: BLE001 - kept for the janitor, which logs it and starts a successor
            self.error = error

    def _serve_next(self) -> bool:
        driver, queued_at = self._ready.get()
        try:
            if isinstance(driver, Stop):
                return False
            self.busy, self.driver = True, driver
            self.events += 1
            self.queued_seconds += monotonic() - queued_at
            driver.connection.served_by = self._identity
            interest = Interest.NOTHING
            try:
                interest = driver.on_ready(self.buffer)
            except BaseException as error:
                # This worker dies of it. The connection is disarmed, and would never be looked at again.
                driver.connection.failed(CloseReason.KILLED, error)
                raise
            finally:
                self.poller.give_back(driver, interest, self.buffer)
                self.driver = None
            return True
        finally:
            self.busy = False
            self._ready.task_done()
