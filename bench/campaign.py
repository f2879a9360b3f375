"""The whole of a benchmark: every cell by every server in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cells import Cell
from bench.measure import IMPORTS, Sample, allow_files, measure, measure_imports
from bench.servers import Server, ServerFailedError
from echoclient.errors import ClientError

Samples = dict[str, dict[str, list[Sample]]]
"""By cell and server: a sample for each round, in order."""


@dataclass(frozen=True)
class Settings:
    """What to measure, and how thoroughly.

    Attributes:
        cells: in the order of the report.
        servers: likewise.
        rounds: how often each cell is measured with each server.
        seconds: how long a cell under load is measured.
        base: the server that the others are compared with.
    """

    cells: Sequence[Cell]
    servers: Sequence[Server]
    rounds: int
    seconds: float
    base: str

    def base_of(self, cell: Cell) -> str:
        """Return what a cell's figures are compared with."""
        return IMPORTS if cell.kind == "start" else self.base


@dataclass
class Campaign:
    """What a benchmark has measured so far.

    Attributes:
        settings: what was asked for.
        samples: the figures.
        left_out: cells that this machine can't do, with the reason.
    """

    settings: Settings
    samples: Samples = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


Progress = Callable[[int, Cell, str, float], None]
"""Is told what is measured next: the round from 1, the cell, by whom, and which share of all is done."""


def carry_out(campaign: Campaign, progress: Progress) -> None:
    """Measure everything, into the campaign, so that what is done is not lost with Ctrl-C.

    The rounds are the outermost loop, so that a machine that gets slower or faster does so for every server alike, and
    within a round the servers of a cell follow each other at once. The first one changes from round to round.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    settings = campaign.settings
    for cell in settings.cells:
        if reason := _impossible(cell):
            campaign.left_out[cell.name] = reason
    steps = [step for step in _steps(settings) if step[1].name not in campaign.left_out]
    whole = sum(_seconds(cell, settings) for _, cell, _ in steps)
    done = 0.0
    for number, cell, server in steps:
        name = server.name if server else IMPORTS
        progress(number, cell, name, done / whole)
        sample = _measure(cell, server, settings)
        campaign.samples.setdefault(cell.name, {}).setdefault(name, []).append(sample)
        done += _seconds(cell, settings)


def _steps(settings: Settings) -> Iterator[tuple[int, Cell, Server | None]]:
    for number in range(settings.rounds):
        for cell in settings.cells:
            if number >= cell.rounds:
                continue
            if cell.kind == "start":
                yield number + 1, cell, None
            first = number % len(settings.servers)
            for server in [*settings.servers[first:], *settings.servers[:first]]:
                yield number + 1, cell, server


def _measure(cell: Cell, server: Server | None, settings: Settings) -> Sample:
    if server is None:
        return measure_imports()
    try:
        return measure(cell, server, settings.seconds)
    except (ServerFailedError, ClientError) as error:
        return Sample(problem=str(error))


def _impossible(cell: Cell) -> str:
    if cell.kind == "idle" and not Path("/proc/self/status").exists():
        return "there is no /proc to read a process's memory from"
    return allow_files(cell.connections)


def _seconds(cell: Cell, settings: Settings) -> float:
    """Guess how long a measurement takes, for the progress only."""
    if cell.kind == "start":
        return 0.5
    return 0.5 + cell.connections / 2500 if cell.kind == "idle" else settings.seconds + 0.8
