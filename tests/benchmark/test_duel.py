"""The duel of the models: what is said of the figures, what is drawn, and that a bout leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from threading import Event, Thread

import pytest
from click.testing import CliRunner

from bench.duel import __main__ as command
from bench.duel import bout as bouts
from bench.duel.bout import Bout, BoutFailedError, hold
from bench.duel.page import page
from bench.duel.sampling import Track, resident_bytes, watch
from bench.duel.timeline import draw
from bench.duel.verdict import verdict
from bench.duel.work import MODELS, WORKS, calibrate
from support import PATIENCE, environment

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc, and workers mode needs epoll"
)


def made(model: str, rate: float, p99: float = 0.01, cpu: float = 1e-5, work: str = "echo") -> Bout:
    tracks = [Track("poller", [0.25, 1.0], ["poll", ""]), Track("janitor", [0.0, 0.0], ["lock", "lock"])]
    return Bout(work, model, rate, {50.0: 0.001, 99.0: p99, 99.9: 0.5}, cpu, 30_000_000, tracks)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (
            [made("threads", 3000), made("inline", 50), made("queue", 400)],
            "“threads” wins with 3,000 messages a second: 7.5 times “workers, queue” and 60 times “workers, inline”.",
        ),
        (
            [made("threads", 960, 0.3), made("inline", 1000, 0.1), made("queue", 500)],
            "“workers, inline” and “threads” win with about 1,000 messages a second: 2.0 times “workers, queue”. "
            "Their slowest replies differ: p99 is 100 ms with “workers, inline”, 300 ms with “threads”.",
        ),
        (
            [made("threads", 960, cpu=3e-5), made("inline", 1000), made("queue", 950, cpu=2e-5)],
            "All answer about 1,000 messages a second. A message costs them 10.0 us with “workers, inline”, 20.0 us "
            "with “workers, queue”, 30.0 us with “threads” of processor time.",
        ),
        ([made("threads", 960), made("inline", 1000), made("queue", 950)], "All answer about 1,000 messages a second."),
    ],
)
def test_the_verdict(held, said):
    assert verdict(held) == said


def test_a_thread_that_waits_and_one_that_has_ended():
    go_on, ended = Event(), Thread(target=int)
    waiting = Thread(target=go_on.wait, name="waits")
    waiting.start()
    ended.start()
    ended.join()
    try:
        names = {waiting.native_id or 0: "waits", ended.native_id or 0: "ended"}
        (track,) = watch(os.getpid(), names, 3, 0.01)
    finally:
        go_on.set()
        waiting.join()
    assert (track.name, len(track.busy), track.waits[-1] in ("lock", "")) == ("waits", 3, True)
    assert max(track.busy) < 0.5


def test_a_thread_that_computes_is_busy():
    go_on = Event()

    def compute() -> None:
        while not go_on.is_set():
            pass

    computing = Thread(target=compute)
    computing.start()
    try:
        (track,) = watch(os.getpid(), {computing.native_id or 0: "computes"}, 10, 0.02)
    finally:
        go_on.set()
        computing.join()
    assert sum(track.busy) > 0
    assert all(0 <= share <= 1 for share in track.busy)
    assert resident_bytes(os.getpid()) > 1_000_000


def test_the_picture_has_the_busiest_threads_and_says_how_many_more():
    tracks = [Track(f"conn-{number}", [number / 100], ["socket"]) for number in range(40)]
    picture = ET.fromstring(draw(tracks, 1.0, "a < b"))
    texts = [text.text for text in picture.iter("text")]
    assert texts[:2] == ["conn-39", "conn-38"]
    assert texts[-1] == "26 more threads, less busy than these"
    assert picture.get("aria-label") == "a < b"


def test_the_page_is_well_formed_and_self_contained():
    held = [made(model, 100, work=work) for work in WORKS for model in MODELS]
    text = page(held, 64, {"machine": "<x>"})
    assert "&lt;x&gt;" in text
    assert not any(link in text for link in ("http:", "https:", "src=", "<script"))
    body = text[text.index("<body>") :].replace("</html>", "")
    assert len(list(ET.fromstring(body).iter("svg"))) == 9


@pytest.mark.parametrize("model", MODELS)
def test_a_bout(model, monkeypatch):
    monkeypatch.setattr(bouts, "_INTERVALS", 3)
    monkeypatch.setattr(bouts, "_LOAD_SECONDS", 0.6)
    held = hold("echo", model, 2, 0.2)
    assert held.rate > 0
    assert held.cpu > 0
    assert list(held.percentiles) == [50.0, 99.0, 99.9]
    names = {track.name for track in held.tracks}
    assert "janitor" in names
    # The poller accepts where it calls the handler.
    assert ("acceptor" in names) == (model != "inline")
    assert any(name.startswith("conn-" if model == "threads" else "poller") for name in names)


def test_a_server_that_fails_is_one_line(monkeypatch):
    with pytest.raises(BoutFailedError, match=r"^the server ended with status 1$"):
        hold("no such work", "threads", 1, 0.1)


def test_the_served_process_ends_with_its_input():
    arguments = [sys.executable, "-m", "bench.duel.served", "compute", "queue"]
    served = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    output, errors = served.communicate("\n", PATIENCE)
    port, answer = map(json.loads, output.splitlines())
    assert (served.returncode, errors, port > 0, answer["active"]) == (0, "", True, 0)
    assert "poller" in answer["threads"].values()


def test_calibration_is_in_proportion():
    assert calibrate(0.01) > calibrate(0.0001) >= 1


def test_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "hold", lambda work, model, *_: made(model, 100, work=work))
    file = tmp_path / "duel.html"
    printed = CliRunner().invoke(command.main, ["--html", str(file)])
    assert printed.exit_code == 0
    assert printed.output.count("All answer about 100 messages a second.") == 3
    assert file.read_text().startswith("<!doctype html>")
    printed = CliRunner().invoke(command.main, ["--html", str(file), "--json"])
    assert [(entry["work"], entry["model"]) for entry in json.loads(printed.stdout)] == [
        (work, model) for work in WORKS for model in MODELS
    ]


def test_a_failed_bout_is_one_line(monkeypatch, tmp_path):
    def fail(*_: object) -> Bout:
        raise BoutFailedError("no server")

    monkeypatch.setattr(command, "hold", fail)
    printed = CliRunner().invoke(command.main, ["--html", str(tmp_path / "duel.html")])
    assert (printed.exit_code, printed.output) == (1, "Error: no server\n")
    assert threading.active_count() == 1
