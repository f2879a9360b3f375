"""What the handlers of a duel do, and the models that do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from echoserver import Handler

WAIT_SECONDS = 0.02
COMPUTE_SECONDS = 0.001
_CALIBRATION_ROUNDS = 2_000
_CALIBRATIONS = 5


class Echo(Handler):
    """Returns what it gets."""

    blocking: ClassVar[bool] = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data


class Wait(Handler):
    """Waits for something else first, as for a database."""

    def feed(self, data: bytes) -> bytes:
        """Wait, and return the bytes."""
        time.sleep(WAIT_SECONDS)
        return data


class Compute(Handler):
    """Computes something first, in Python.

    Parameters
    ----------
    rounds:
        How long, in rounds of a loop; see `calibrate`.

    """

    def __init__(self, rounds: int = 1) -> None:
        self._rounds = rounds

    def feed(self, data: bytes) -> bytes:
        """Compute, and return the bytes."""
        _spin(self._rounds)
        return data


class _InlineWait(Wait):
    # It does block: that is what the duel shows of it.
    blocking: ClassVar[bool] = False


class _InlineCompute(Compute):
    blocking: ClassVar[bool] = False


def _spin(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total ^= number
    return total


def calibrate(seconds: float = COMPUTE_SECONDS) -> int:
    """Return how many rounds the loop of `Compute` makes in so many seconds on this machine."""
    best = min(_time(_CALIBRATION_ROUNDS) for _ in range(_CALIBRATIONS))
    return max(1, round(_CALIBRATION_ROUNDS * seconds / best))


def _time(rounds: int) -> float:
    began = time.perf_counter()
    _spin(rounds)
    return time.perf_counter() - began


@dataclass(frozen=True)
class Work:
    """A kind of handler.

    Attributes
    ----------
    title:
        What it does, for people.
    handler:
        The handler, for the models that call it in a thread that may wait.
    inline_handler:
        The same for the model that calls it in the polling thread.
    options:
        Makes the options of the handler.

    """

    title: str
    handler: type[Handler]
    inline_handler: type[Handler]
    options: Callable[[], Mapping[str, int]] = dict


WORKS = {
    "echo": Work("The handler returns what it gets", Echo, Echo),
    "wait": Work(f"The handler waits {WAIT_SECONDS * 1000:.0f} ms for something else", Wait, _InlineWait),
    "compute": Work(
        f"The handler computes for {COMPUTE_SECONDS * 1000:.0f} ms in Python",
        Compute,
        _InlineCompute,
        lambda: {"rounds": calibrate()},
    ),
}


@dataclass(frozen=True)
class Model:
    """A way to give connections threads.

    Attributes
    ----------
    title:
        Its name, for people.
    about:
        What it is, in one sentence.
    options:
        The options of the server that choose it.

    """

    title: str
    about: str
    options: Mapping[str, str] = field(default_factory=dict)


MODELS = {
    "threads": Model("threads", "each connection has a thread of its own", {"mode": "threads"}),
    "inline": Model(
        "workers, inline", "the polling thread calls the handler", {"mode": "workers", "dispatch": "inline"}
    ),
    "queue": Model(
        "workers, queue",
        "the polling thread queues what is ready for eight workers or more",
        {"mode": "workers", "dispatch": "queue"},
    ),
}
