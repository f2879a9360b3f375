"""The worker processes of a run: starts them, controls them, collects their results, and ends them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import echoclient
from echoclient.errors import ClientError
from echoclient.interrupt import Interrupt
from echoclient.load.progress import Progress, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.plan import Plan

# Seconds from telling the workers when to start until the start.
_HEAD_START = 0.02
_SNAPSHOT_EVERY = 0.5


class WorkerProcess:
    """A worker process, and what it has reported.

    Attributes:
        ready: whether it waits to be told when to start.
        result: its result, once it has reported it.
        failure: why it has no result, if it ended without one.
    """

    def __init__(self, index: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.index = index
        self.process = process
        self.ready = False
        self.result: dict[str, Any] | None = None
        self.failure = ""
        self.output = process.stdout
        self._input = process.stdin
        self._heard = b""

    @property
    def over(self) -> bool:
        """Whether it will report nothing more."""
        return self.result is not None or bool(self.failure)

    def tell(self, order: object) -> None:
        """Send it a line. If it has ended, the end of its output will show that."""
        with contextlib.suppress(OSError):
            self._input.write(json.dumps(order).encode() + b"\n")
            self._input.flush()

    def hear(self) -> list[list[Any]]:
        """Read what it reported: kinds and values."""
        data = os.read(self.output.fileno(), 1 << 20)
        if not data and self.result is None:
            status = self.process.wait()
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            self.failure = f"load process {self.index} {how} before it had a result"
        *lines, self._heard = (self._heard + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """End the process, whatever state it is in, and wait for it."""
        with contextlib.suppress(OSError):
            self._input.close()
        if self.result is None:
            self.process.kill()
        self.process.wait()
        self.output.close()


class Supervisor:
    """The workers of a run, controlled by the thread that made this object."""

    def __init__(self, plan: Plan, progress: Callable[[Snapshot], None] | None) -> None:
        self.workers: list[WorkerProcess] = []
        self.interrupted = False
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._stopped = False
        self._report = progress
        self._progress = Progress(plan)

    def start(self, index: int, family: int, address: tuple[Any, ...] | str) -> None:
        """Start a worker and give it its assignment."""
        place = str(Path(echoclient.__file__).parent.parent)
        paths = [place, *filter(None, [os.environ.get("PYTHONPATH")])]
        # A worker inherits blocked signals: the terminal sends Ctrl-C to all processes, but only this one handles it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "echoclient.load.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
            # Added while Ctrl-C is blocked: later it may come at any time, and then `end` ends the workers in the list.
            worker = WorkerProcess(index, process)
            self.workers.append(worker)
        except OSError as error:
            raise ClientError(
                f"load process {index} can't be started: {(error.strerror or str(error)).lower()}"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)
        worker.tell({"plan": self._plan.to_json(), "index": index, "family": family, "address": address})

    def follow(self) -> None:
        """Take the workers through the phases until each has a result or has failed.

        In the main thread, Ctrl-C stops them, and the call waits for the results they have until then. A second Ctrl-C
        raises KeyboardInterrupt.
        """
        if threading.current_thread() is threading.main_thread():
            with Interrupt() as interrupt:
                self._selector.register(interrupt, selectors.EVENT_READ)
                while not (interrupt.seen or self._over()):
                    self._listen()
                self._selector.unregister(interrupt)
                self.interrupted = interrupt.seen
        if self.interrupted:
            self._stop()
        while not self._over():
            self._listen()

    def _over(self) -> bool:
        return all(worker.over for worker in self.workers)

    def end(self) -> None:
        """End the workers and release everything."""
        for worker in self.workers:
            worker.end()
        self._selector.close()

    def _listen(self) -> None:
        for key, _ in self._selector.select(_SNAPSHOT_EVERY):
            worker: WorkerProcess | None = key.data
            if worker is None:  # Ctrl-C
                continue
            for kind, values in worker.hear():
                if kind == "ready":
                    worker.ready = True
                elif kind == "live":
                    self._progress.add(worker.index, values)
                else:
                    worker.result = values
            if worker.over:
                self._selector.unregister(worker.output)
                if worker.failure or (worker.result and worker.result["given_up"]):
                    self._stop()  # the plan can't be carried out any more
        waiting = [worker for worker in self.workers if not worker.over]
        if waiting and all(worker.ready for worker in waiting):
            self._progress.next_phase()
            for worker in waiting:
                worker.ready = False
                worker.tell({"go": time.monotonic() + _HEAD_START})
        if self._report and (snapshot := self._progress.snapshot()):
            self._report(snapshot)

    def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            for worker in self.workers:
                worker.tell("stop")
