"""The load generator: say what to do in a `Plan`, `run` it, and get a `Result`.

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

# The worker processes import this package too, and need none of these.
_PLACES = {"Result": "result", "Snapshot": "progress", "run": "runner"}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(f"echoclient.load.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
