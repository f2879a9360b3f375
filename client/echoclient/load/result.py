"""What a run measured, merged over all processes, as a typed value and as JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from echoclient.load.faults import FaultLog
from echoclient.load.latency import Latency
from echoclient.load.plan import Plan, PlanError
from echoclient.load.recorder import Timeline

FORMAT = "echoclient-bench/1"
# The distributions of a result. The last is missing in files of versions that did not speak TLS.
DISTRIBUTIONS = ("latency", "service", "connect", "handshake")
# A process that is busy or waits for a processor for this share of its time has no time to spare. Then the generator
# may limit the figures, and not the server.
BOUND_AT = 0.9
# In a run shorter than this, in seconds, being busy means nothing.
_JUDGED_FROM = 0.1


class ResultError(ValueError):
    """A file is not a result; the message is one line."""


@dataclass(frozen=True)
class Process:
    """One generating process.

    Attributes:
        cpu: the share of wall-clock time that it ran on a processor.
        starved: the share that it was ready to run but had none.
    """

    cpu: float
    starved: float

    @property
    def bound(self) -> bool:
        """Whether it had almost no time to spare."""
        return self.cpu + self.starved >= BOUND_AT


@dataclass
class Result:
    """Everything known about a run when it is over.

    Attributes:
        plan: what was asked for.
        started: date and time, UTC, ISO 8601.
        environment: versions and the machine, for the reader.
        elapsed: seconds from the first message to the last reply, or to the end of ``plan.duration`` if that is later.
        answered: messages that were answered correctly.
        lost: messages without a reply because their connection failed.
        unsent: messages that were due by the clock, but could not be sent before their time was up.
        payload: bytes of the messages that were answered.
        latency: times from the planned time of sending to the end of the reply.
        service: times from the actual time of sending, with a rate.
        connect: times of connecting, with churn.
        handshake: times of the TLS handshakes.
        timeline: what happened over time.
        faults: what went wrong.
        processes: the processes of the generator.
        interrupted: whether the run was stopped early.
        failures: why the run could not be carried out as asked, one line each.
    """

    plan: Plan
    started: str
    environment: dict[str, str]
    elapsed: float = 0.0
    answered: int = 0
    lost: int = 0
    unsent: int = 0
    payload: int = 0
    latency: Latency | None = None
    service: Latency | None = None
    connect: Latency | None = None
    handshake: Latency | None = None
    timeline: Timeline = field(default_factory=Timeline)
    faults: FaultLog = field(default_factory=FaultLog)
    processes: list[Process] = field(default_factory=list)
    interrupted: bool = False
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages answered per second."""
        return self.answered / self.elapsed if self.elapsed else 0.0

    @property
    def megabytes(self) -> float:
        """Megabytes (10**6 bytes) per second, each way."""
        return self.payload / self.elapsed / 1e6 if self.elapsed else 0.0

    @property
    def each_second(self) -> list[int]:
        """Messages answered in each whole second."""
        return self.timeline.seconds[: int(self.elapsed)]

    @property
    def generator_bound(self) -> bool:
        """Whether a process of the generator had no time to spare, so that it may have limited the figures."""
        return self.elapsed >= _JUDGED_FROM and any(process.bound for process in self.processes)

    @property
    def ok(self) -> bool:
        """Whether everything was done as asked."""
        wrong = self.faults.total or self.lost or self.unsent or self.failures or self.interrupted
        return bool(self.answered) and not wrong

    def to_json(self) -> str:
        """Return the result as JSON; `from_json` reads it back."""
        seconds = self.each_second
        parts: dict[str, Latency | None] = {name: getattr(self, name) for name in DISTRIBUTIONS}
        values = {
            "format": FORMAT,
            "ok": self.ok,
            "mode": self.plan.mode,
            "started": self.started,
            "environment": self.environment,
            "plan": self.plan.to_json(),
            "elapsed_s": round(self.elapsed, 6),
            "messages": {"answered": self.answered, "lost": self.lost, "unsent": self.unsent},
            "payload_bytes": self.payload,
            "throughput": {
                "messages_per_s": round(self.rate, 3),
                "megabytes_per_s": round(self.megabytes, 6),
                "each_second": self.timeline.seconds,
                "whole_seconds": spread(seconds) if seconds else None,
            },
            **{name: part.to_json() if part else None for name, part in parts.items()},
            "errors": self.faults.to_json(),
            "generator": [asdict(process) for process in self.processes],
            "generator_bound": self.generator_bound,
            "interrupted": self.interrupted,
            "failures": self.failures,
            "timeline": {
                "width_s": self.timeline.width,
                "cells": [sorted(interval.items()) for interval in self.timeline.intervals],
            },
        }
        return json.dumps(values) + "\n"

    @staticmethod
    def from_json(text: str) -> Result:
        """Read what `to_json` wrote.

        Raises:
            ResultError: it is something else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values["format"] != FORMAT:
                raise ResultError(f"its format is {values['format']!r}, not {FORMAT!r}")
            return _read(values)
        except ResultError:
            raise
        except PlanError as error:
            raise ResultError(str(error)) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ResultError(f"not a result of echoclient bench ({type(error).__name__}: {error})") from None


def _read(values: dict[str, Any]) -> Result:
    timeline = values["timeline"]
    parts = {name: Latency.from_json(values[name]) for name in DISTRIBUTIONS if name in values or name != "handshake"}
    return Result(
        plan=Plan.from_json(values["plan"]),
        started=str(values["started"]),
        environment={str(name): str(value) for name, value in values["environment"].items()},
        elapsed=float(values["elapsed_s"]),
        answered=int(values["messages"]["answered"]),
        lost=int(values["messages"]["lost"]),
        unsent=int(values["messages"]["unsent"]),
        payload=int(values["payload_bytes"]),
        **parts,
        timeline=Timeline(
            float(timeline["width_s"]),
            [Counter({int(cell): int(count) for cell, count in column}) for column in timeline["cells"]],
            [int(count) for count in values["throughput"]["each_second"]],
        ),
        faults=FaultLog.from_json(values["errors"]),
        processes=[Process(float(process["cpu"]), float(process["starved"])) for process in values["generator"]],
        interrupted=bool(values["interrupted"]),
        failures=[str(failure) for failure in values["failures"]],
    )


def spread(seconds: list[int]) -> dict[str, float]:
    """Return min, median and max of the messages in each second, and their deviation as a share of the mean."""
    mean = statistics.fmean(seconds)
    return {
        "min": min(seconds),
        "median": statistics.median(seconds),
        "max": max(seconds),
        "deviation": round(statistics.pstdev(seconds) / mean, 6) if mean else 0.0,
    }
