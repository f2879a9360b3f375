"""The one line of a terminal that says how far a benchmark is."""

from __future__ import annotations

import shutil
import sys
import time

import click

from bench.cells import Cell
from echoclient.durations import format_duration

_BAR = 20


class ProgressLine:
    """Writes the line on standard error over and over; nothing at all where that is no terminal."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._live = sys.stderr.isatty()
        self._began = time.monotonic()

    def show(self, number: int, cell: Cell, server: str, share: float) -> None:
        """Say what is measured next, as `bench.campaign.Progress` documents it."""
        if not self._live:
            return
        passed = time.monotonic() - self._began
        filled = round(share * _BAR)
        parts = [f"{'█' * filled}{'░' * (_BAR - filled)} {share:4.0%}", f"round {number} of {self._rounds}"]
        if share > 0.02:  # before that, nobody can tell
            parts.append(f"{format_duration(round(passed / share - passed))} left")
        parts += [cell.title, server]
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r{'  '.join(parts)[:width]}\x1b[K", nl=False, err=True)

    def clear(self) -> None:
        """Leave the line empty; the terminal may have put a ^C there."""
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
