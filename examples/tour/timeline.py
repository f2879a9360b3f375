"""What the threads of a program did, as a picture: one row per thread, in the terminal and as SVG.

A chapter of the tour is a function `run()` that makes a `Timeline`, starts threads that record what they do, joins them
and shows it. It calls `main(run)` at its end.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import drawing
from drawing import Lane, Piece

MOST_ROWS = 24
PATIENCE = 5.0  # how long a thread may run after `run` has returned, in seconds


@dataclass(slots=True)
class Span:
    """A stretch of time in which a thread did one thing. It has no end as long as it lasts."""

    kind: str
    label: str
    start: float
    end: float | None = None

    def piece(self, start: float, end: float) -> Piece:
        """Return the part of the span between two times."""
        return Piece(self.kind, self.label, start, end, id(self))


@dataclass(slots=True)
class Row:
    """Everything that one thread recorded."""

    spans: list[Span] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)


class Timeline:
    """Record what threads do, and draw it. Making one starts its clock. Every method may be called in any thread."""

    def __init__(self) -> None:
        global _newest
        self._lock = threading.Lock()  # guards the rows with their spans, the samples, and the order of what is printed
        self._rows: dict[threading.Thread, Row] = {}
        self._samples: dict[str, list[tuple[float, int]]] = {}
        self._began = time.perf_counter()
        _newest = self

    def now(self) -> float:
        """Return the time since the start of the timeline, in seconds."""
        return time.perf_counter() - self._began

    def say(self, text: str) -> None:
        """Print a line with the time and the name of the calling thread, and mark the moment in its row."""
        with self._lock:
            now = self.now()
            self._row().marks.append((now, text))
            print(f"{now:7.3f} s  {threading.current_thread().name:<16} {text}", flush=True)

    def doing(self, label: str) -> AbstractContextManager[None]:
        """Record that the calling thread runs, for as long as the `with` block takes."""
        return self._span("doing", label)

    def waiting(self, label: str) -> AbstractContextManager[None]:
        """Record that the calling thread waits."""
        return self._span("waiting", label)

    def holding(self, label: str) -> AbstractContextManager[None]:
        """Record that the calling thread holds something. It is drawn in a strip of its own below the thread's."""
        return self._span("holding", label)

    def depth(self, name: str, value: int) -> None:
        """Record a sample of a curve, such as the number of items in a queue. Each name has a row of its own."""
        with self._lock:
            self._samples.setdefault(name, []).append((self.now(), value))

    def show(self, title: str, most: int = MOST_ROWS) -> None:
        """Draw what was recorded: in the terminal now, and in the SVG file if `main` was asked for one.

        With more threads than `most`, a line says how many were left out.
        """
        with self._lock:
            end = max(self.now(), 1e-6)  # a coarse clock may not have moved yet
            rows = sorted(self._rows.items(), key=lambda item: item[0] is not threading.main_thread())
            lanes = [lane for thread, row in rows[:most] for lane in _lanes(thread.name, row, end)]
            if len(rows) > most:
                lanes.append(Lane(f"… {len(rows) - most} more threads"))
            lanes += [Lane(name, samples=samples) for name, samples in self._samples.items()]
            drawing.put(drawing.lanes_text(title, lanes, end))
            _panels.append(drawing.lanes_svg(title, lanes, end))

    def _row(self) -> Row:
        """Return the row of the calling thread, which holds the lock."""
        return self._rows.setdefault(threading.current_thread(), Row())

    @contextmanager
    def _span(self, kind: str, label: str) -> Iterator[None]:
        with self._lock:
            span = Span(kind, label, self.now())
            self._row().spans.append(span)
        try:
            yield
        finally:
            with self._lock:
                span.end = self.now()


def _lanes(name: str, row: Row, end: float) -> list[Lane]:
    """Split what a thread recorded into strips: one for what it did, one for each thing it held at a time."""
    first = Lane(name, marks=row.marks)
    active = [span for span in row.spans if span.kind != "holding"]
    times = sorted({time for span in active for time in (span.start, end if span.end is None else span.end)})
    last: Span | None = None
    for left, right in pairwise(times):
        over = [span for span in active if span.start <= left and (span.end is None or span.end >= right)]
        inner = over[-1] if over else None  # spans nest: the one begun last is what the thread was doing
        if inner is not None and inner is last:
            first.pieces[-1].end = right
        elif inner is not None:
            first.pieces.append(inner.piece(left, right))
        last = inner
    held: list[Lane] = []
    for span in row.spans:
        if span.kind == "holding":
            lane = next((lane for lane in held if lane.pieces[-1].end <= span.start), None)
            if lane is None:
                held.append(lane := Lane(""))
            lane.pieces.append(span.piece(span.start, end if span.end is None else span.end))
    return [first, *held]


# The main thread makes the timelines before it starts the threads that use them, and it alone draws.
_newest: Timeline | None = None
_panels: list[drawing.Panel] = []


def say(text: str) -> None:
    """Print a line and mark the moment in the timeline made last."""
    if _newest is None:
        raise RuntimeError("there is no timeline yet: make a Timeline first")
    _newest.say(text)


def bars(title: str, values: Mapping[str, float], unit: str = "s") -> None:
    """Draw one bar for each value, in the terminal and in the SVG file."""
    drawing.put(drawing.bars_text(title, values, unit))
    _panels.append(drawing.bars_svg(title, values, unit))


def main(run: Callable[[], None]) -> None:
    """Run a chapter: read the command line, call `run()`, write the picture, and see that the program ends."""
    description = sys.modules[run.__module__].__doc__
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", metavar="FILE", type=Path, help="write the picture to this file too")
    file: Path | None = parser.parse_args().svg
    try:
        run()
    except KeyboardInterrupt:
        os._exit(130)  # other threads may wait for something that doesn't come any more
    except BrokenPipeError:  # the output goes to `head`, or a pager that was left
        os._exit(1)
    if file is not None:
        try:
            file.write_text(drawing.svg(_panels), encoding="utf-8")
        except OSError as error:
            sys.exit(f"{parser.prog}: can't write {file}: {error.strerror}")
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(timeout=PATIENCE)
            if thread.is_alive():  # the interpreter would wait for it without end
                print(f"{parser.prog}: thread {thread.name} does not end", file=sys.stderr, flush=True)
                os._exit(1)
