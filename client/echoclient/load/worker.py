"""One load process of a run, `python -m echoclient.load.worker`, controlled by the process that starts it.

It reads lines of JSON from standard input: the assignment; then, for each phase, ``go`` with an instant on the
monotonic clock, which all processes of a machine share; and ``stop`` at any time. It writes lines of JSON to standard
output: ``ready`` before each phase, ``live`` twice a second while measuring, and ``result`` at the end. The end of its
input ends the process.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoclient.load.closed_loop import Churn, ClosedLoop
from echoclient.load.engine import Engine
from echoclient.load.open_loop import OpenLoop
from echoclient.load.plan import Plan
from echoclient.load.pool import ConnectionPool
from echoclient.load.recorder import Recorder
from echoclient.load.startup import Opening, Waiting
from echoclient.tls_settings import SettingError

if TYPE_CHECKING:
    from echoclient.load.plan import Share
    from echoclient.load.workload import Workload

# Open files besides the connections.
OTHER_FILES = 16
_INPUT, _OUTPUT = 0, 1
_LIVE_EVERY = 5  # ticks


@dataclass(frozen=True)
class Usage:
    """How a process spent a phase, as shares of its wall-clock time.

    Attributes:
        cpu: running on a processor.
        starved: ready to run while no processor was free; 0 where the system does not say.
    """

    cpu: float
    starved: float


class _Meter:
    """Measures the `Usage` since it was made."""

    def __init__(self) -> None:
        self._at = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        try:
            # Time on the run queue, in nanoseconds: the second field (Linux, Documentation/scheduler/sched-stats.rst).
            queued = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            queued = 0.0
        return time.monotonic(), time.process_time(), queued

    def read(self) -> Usage:
        """Return the usage since the meter was made."""
        wall, cpu, queued = (now - then for now, then in zip(self._now(), self._at, strict=True))
        return Usage(cpu / wall, queued / wall)


class Worker:
    """Runs the phases of one process's share of a plan."""

    def __init__(self, plan: Plan, share: Share, family: int, address: list[Any] | str) -> None:
        self._plan, self._share = plan, share
        self._idle = Recorder(time.monotonic(), planned=False)
        pool, engine = _classes(plan)
        self._pool = pool(plan, share, family, address if isinstance(address, str) else tuple(address))
        self._engine = engine(plan, self._pool)
        self._engine.watch(_INPUT, self._obey)
        self._heard = b""
        self._go = math.inf
        self._interrupted = False
        self._ticks = 0

    def run(self) -> None:
        """Go through the phases and report the result."""
        engine, pool = self._engine, self._pool
        if not self._plan.churn:
            engine.run(Opening(pool), self._idle)
            if not engine.stop and not any(connection.connected for connection in pool.connections):
                engine.stop, engine.given_up = True, "no connection could be opened"
        if self._plan.warmup:
            self._phase(self._plan.warmup, None)
        pool.measuring = True
        pool.lost = 0
        engine.on_tick = self._show
        workload, recorder, usage = self._phase(self._plan.duration, self._share.messages)
        now = time.monotonic()
        timeline = recorder.finish(now)
        self._idle.fold()
        if not self._plan.churn:  # the handshakes were made before the phase
            recorder.handshake.buckets += self._idle.handshake.buckets
        self._write_line(
            "result",
            {
                "elapsed": self._elapsed(recorder, now),
                "answered": recorder.answered,
                "payload": self._payload(recorder),
                "lost": pool.lost,
                "unsent": workload.unsent,
                "buckets": {
                    name: list(series.buckets.items())
                    for name, series in (
                        ("latency", recorder.latency),
                        ("service", recorder.service),
                        ("connect", recorder.connect),
                        ("handshake", recorder.handshake),
                    )
                },
                "width": timeline.width,
                "intervals": [list(interval.items()) for interval in timeline.intervals],
                "seconds": timeline.seconds,
                "faults": pool.log.to_json(),
                "usage": asdict(usage),
                "given_up": engine.given_up,
                "interrupted": self._interrupted,
            },
        )
        pool.close()

    def _phase(self, duration: float | None, messages: int | None) -> tuple[Workload, Recorder, Usage]:
        engine, pool, plan = self._engine, self._pool, self._plan
        self._go = math.inf
        self._write_line("ready", {})
        waiting = Waiting(lambda: self._go)
        engine.run(waiting, self._idle)
        start = time.monotonic() if self._go == math.inf else self._go
        recorder = Recorder(start, planned=plan.rate is not None)
        workload: Workload
        if plan.rate is not None:
            total = math.ceil(duration * plan.rate) if duration else (plan.messages or 0)
            workload = OpenLoop(pool, plan, self._share, start, total)
        else:
            kind = Churn if plan.churn else ClosedLoop
            workload = kind(pool, plan, start + (duration or math.inf), messages)
        meter = _Meter()
        engine.run(workload, recorder)
        return workload, recorder, meter.read()

    def _elapsed(self, recorder: Recorder, now: float) -> float:
        """Return how many seconds were measured. Waiting for last replies that never come does not count."""
        if self._engine.stop or not recorder.answered:
            return now - recorder.start
        return max(recorder.last - recorder.start, self._plan.duration or 0)

    def _payload(self, recorder: Recorder) -> int:
        if self._plan.smallest == self._plan.largest:
            return recorder.answered * self._plan.smallest
        return recorder.payload

    def _obey(self, data: bytes) -> None:
        if not data:  # the process that started this one is gone
            self._engine.stop = self._interrupted = True
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order == "stop":
                self._engine.stop = self._interrupted = True
            else:
                self._go = order["go"]

    def _show(self, now: float) -> None:
        self._ticks += 1
        if self._ticks % _LIVE_EVERY == 0:
            cells = list(self._pool.recorder.live().items())
            self._write_line("live", {"cells": cells, "faults": self._pool.log.total})

    def _write_line(self, kind: str, values: dict[str, object]) -> None:
        line = memoryview(json.dumps([kind, values]).encode() + b"\n")
        while line:
            line = line[os.write(_OUTPUT, line) :]


def _classes(plan: Plan) -> tuple[type[ConnectionPool], type[Engine]]:
    if plan.target.tls is None:
        return ConnectionPool, Engine
    from echoclient.load.secured import TlsEngine, TlsPool

    return TlsPool, TlsEngine


def main() -> None:
    """Read the assignment and carry it out."""
    # The loop makes no reference cycles, and a garbage collection in the middle would be measured as latency.
    gc.disable()
    text = b""
    while not text.endswith(b"\n"):
        if not (piece := os.read(_INPUT, 65536)):
            return
        text += piece
    assignment = json.loads(text)
    plan = Plan.from_json(assignment["plan"])
    share = plan.share(assignment["index"])
    _allow_files(share.connections + OTHER_FILES)
    if plan.rate is not None:
        _sharpen_timers()
    try:
        worker = Worker(plan, share, assignment["family"], assignment["address"])
    except SettingError as error:  # a file with certificates has changed since the run began
        sys.exit(f"echoclient: {error.option}: {error}")
    try:
        worker.run()
    except BrokenPipeError:  # the process that started this one is gone
        sys.exit(1)


def _allow_files(needed: int) -> None:
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def _sharpen_timers() -> None:
    """Ask the kernel not to delay timers by the usual 50 µs, which would make planned messages late."""
    try:
        Path("/proc/self/timerslack_ns").write_text("1")
    except OSError:  # not Linux, or not permitted: messages are sent a little later, and their latency includes it
        return


if __name__ == "__main__":
    main()
