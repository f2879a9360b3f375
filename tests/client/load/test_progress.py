"""The progress of a run, as its processes report it."""

from __future__ import annotations

from collections import Counter

import pytest

from echoclient.load.plan import Plan
from echoclient.load.progress import Progress, percentile
from echoclient.load.recorder import Recorder


def test_live_percentiles():
    cells = Recorder(0.0, planned=False)
    cells.record(99, 1, 0.0, 0.0, 0.001)
    cells.record(1, 1, 0.0, 0.0, 1.0)
    cells.tick(0.2)
    live = cells.live()
    assert percentile(live, 0.5) == pytest.approx(0.001, rel=0.07)
    assert percentile(live, 1.0) == pytest.approx(1.0, rel=0.07)
    assert percentile(Counter(), 0.5) is None


def test_progress_adds_up_what_all_processes_say(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress(Plan(processes=2, warmup=1.0, messages=400))
    now[0] = 101.5
    snapshot = progress.snapshot()
    assert snapshot is not None
    assert snapshot.phase == "connecting"
    progress.next_phase()
    now[0] = 102.9
    snapshot = progress.snapshot()
    assert snapshot is not None
    assert (snapshot.phase, snapshot.left) == ("warming up", 0)
    progress.next_phase()
    now[0] = 103.4
    progress.add(0, {"cells": [[65000, 60]], "faults": 2})
    assert progress.snapshot() is None  # the other has not reported
    progress.add(1, {"cells": [[65000, 40]], "faults": 1})
    snapshot = progress.snapshot()
    assert snapshot is not None
    assert (snapshot.phase, snapshot.errors) == ("measuring", 3)
    assert snapshot.rate == pytest.approx(200)
    assert snapshot.left == pytest.approx(1.5)
