"""Results like those of a run."""

from __future__ import annotations

from echoclient.load.faults import Fault
from echoclient.load.latency import Latency
from echoclient.load.plan import Plan
from echoclient.load.recorder import Recorder
from echoclient.load.result import Process, Result


def measured(plan: Plan | None = None, seconds: int = 3) -> Result:
    plan = plan or Plan(messages=300)
    recorder = Recorder(0.0, planned=plan.rate is not None)
    for tick in range(10 * seconds):
        recorder.record(10, 64, 0.0, 0.002, 0.004 + tick / 1000)
        if plan.churn:
            recorder.connect.fresh.append(0.0001)
        recorder.tick((tick + 1) / 10 + 1e-6)
    timeline = recorder.finish(float(seconds))
    return Result(
        plan,
        "2026-01-02T03:04:05+00:00",
        {"python": "CPython 3.13"},
        elapsed=float(seconds),
        answered=recorder.answered,
        payload=recorder.payload,
        latency=Latency.of(recorder.latency.buckets),
        service=Latency.of(recorder.service.buckets),
        connect=Latency.of(recorder.connect.buckets),
        timeline=timeline,
        processes=[Process(0.5, 0.01)],
    )


def broken() -> Result:
    result = measured()
    for _ in range(5):
        result.faults.add(Fault("CORRUPT", 3, 1_000_003, 1.25, "expected byte 0x41, got 0x42"))
    result.lost = 5
    return result
