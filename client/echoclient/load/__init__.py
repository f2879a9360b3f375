"""The load generator: `run` carries out a `Plan` and returns a `Result`.

from echoclient.load import Plan, run
from echoclient.target import Target

result = run(Plan(Target(port=9000), connections=64, duration=5))
print(result.rate, result.latency.percentiles[99.0], result.generator_bound)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from echoclient.load.plan import Plan, PlanError

if TYPE_CHECKING:
    from echoclient.load.progress import Snapshot
    from echoclient.load.result import Result
    from echoclient.load.runner import run

__all__ = ["Plan", "PlanError", "Result", "Snapshot", "run"]

# Imported on first use: the worker processes import this package too, and need none of these.
_HOMES = {"Result": "result", "Snapshot": "progress", "run": "runner"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"echoclient.load.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
