"""The line on a terminal that shows how far a benchmark has come."""

from __future__ import annotations

import shutil
import sys
import time

import click

from bench.workloads import Workload
from echoclient.durations import format_duration

_BAR = 20


class ProgressLine:
    """Rewrites one line on standard error; writes nothing if that is not a terminal."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._is_terminal = sys.stderr.isatty()
        self._began = time.monotonic()

    def show(self, number: int, workload: Workload, server: str, share: float) -> None:
        """Show what is measured next; see `bench.benchmark.Progress`."""
        if not self._is_terminal:
            return
        passed = time.monotonic() - self._began
        filled = round(share * _BAR)
        parts = [f"{'█' * filled}{'░' * (_BAR - filled)} {share:4.0%}", f"round {number} of {self._rounds}"]
        if share > 0.02:  # any earlier, an estimate would be wrong by far
            parts.append(f"{format_duration(round(passed / share - passed))} left")
        parts += [workload.title, server]
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r{'  '.join(parts)[:width]}\x1b[K", nl=False, err=True)

    def clear(self) -> None:
        """Clear the line, including the ^C that the terminal may have echoed."""
        if self._is_terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
