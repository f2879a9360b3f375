"""The drawing module of the tour: what it records, and how that looks in a terminal and as SVG."""

from __future__ import annotations

import io
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from types import ModuleType

import pytest

from tour.kit import PATIENCE, SAID, TOUR, labels, load


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 50.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timeline(monkeypatch, clock) -> Iterator[ModuleType]:
    """Return the module, freshly loaded, with its own clock and a terminal of 60 columns."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delitem(sys.modules, "drawing", raising=False)
    module = load(TOUR / "timeline.py")
    monkeypatch.setattr(module, "time", clock)
    yield module
    sys.modules.pop("drawing", None)


def svg(timeline: ModuleType) -> str:
    return timeline.drawing.svg(timeline._panels)


def in_thread(name: str, work) -> None:
    thread = threading.Thread(target=work, name=name)
    thread.start()
    thread.join()


# -- what is said


def test_a_line_has_the_time_and_the_name_of_the_thread(timeline, clock, capsys):
    line = timeline.Timeline()
    clock.now += 0.25
    in_thread("worker", lambda: line.say("hello"))
    assert capsys.readouterr().out == "  0.250 s  worker           hello\n"


def test_say_without_a_timeline_says_what_to_do(timeline):
    with pytest.raises(RuntimeError, match="make a Timeline first"):
        timeline.say("hello")


def test_say_belongs_to_the_timeline_made_last(timeline, capsys):
    timeline.Timeline()
    second = timeline.Timeline()
    timeline.say("hello")
    assert [list(row.marks) for row in second._rows.values()] == [[(0.0, "hello")]]


def test_lines_of_many_threads_do_not_mix(timeline, capsys):
    line, at_once = timeline.Timeline(), threading.Barrier(20)

    def talk() -> None:
        at_once.wait(PATIENCE)
        for _ in range(50):
            line.say("a line of its own")

    threads = [threading.Thread(target=talk) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1000
    assert all(SAID.fullmatch(text) for text in lines)


# -- what is drawn in the terminal


def test_a_span_inside_another_interrupts_it_and_what_is_held_stands_below(timeline, clock, capsys):
    line = timeline.Timeline()
    with line.doing("count"):
        clock.now += 1
        with line.waiting("lock"):
            clock.now += 1
        with line.holding("A"), line.holding("B"):
            clock.now += 1
        clock.now += 1
    line.show("Title")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Title",
        "             0────────────────────────────────── 4.000 s",
        "  MainThread ━count━━━━┄lock┄┄┄┄┄┄━━━━━━━━━━━━━━━━━━━━━ ",
        "                                  ▒A▒▒▒▒▒▒▒▒▒           ",
        "                                  ▒B▒▒▒▒▒▒▒▒▒           ",
        "  ━━━ runs  ┄┄┄ waits  ▒▒▒ holds  ● says something",
    ]


def test_what_is_held_one_after_the_other_shares_a_strip(timeline, clock, capsys):
    line = timeline.Timeline()
    for name in ("A", "B"):
        with line.holding(name):
            clock.now += 1
    line.show("")
    assert "▒A▒▒▒▒" in capsys.readouterr().out.splitlines()[4]
    assert labels(svg(timeline), "span") == ["A", "B"]


def test_the_rest_of_a_span_that_is_too_short_to_see_is_left_out(timeline, clock, capsys):
    line = timeline.Timeline()
    with line.waiting("lock"):
        clock.now += 1
        with line.doing("work"):
            clock.now += 1
        clock.now += 1e-6
    line.show("")
    assert capsys.readouterr().out.splitlines()[3] == "  MainThread ┄lock┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄━work━━━━━━━━━━━━━━━━ "
    assert labels(svg(timeline), "span") == ["lock", "work"]


def test_a_span_that_has_not_ended_lasts_until_now(timeline, clock, capsys):
    line, go_on, begun = timeline.Timeline(), threading.Event(), threading.Event()

    def wait() -> None:
        with line.waiting("event"):
            begun.set()
            go_on.wait()

    thread = threading.Thread(target=wait, name="w")
    thread.start()
    begun.wait(PATIENCE)
    clock.now += 1
    line.show("")
    go_on.set()
    thread.join()
    assert capsys.readouterr().out.splitlines()[3].rstrip().endswith("┄" * 20)


def test_a_curve_shows_each_value_and_the_highest(timeline, clock, capsys):
    line = timeline.Timeline()
    for value in (0, 4, 8, 0):
        line.depth("queue", value)
        clock.now += 1
    line.show("")
    drawn = capsys.readouterr().out.splitlines()[3]
    assert drawn.startswith("  queue ")
    assert "▄▄▄" in drawn
    assert "▄█" in drawn
    assert drawn.endswith(" 8")
    assert "most 8" in svg(timeline)


def test_more_threads_than_asked_for_are_counted(timeline, capsys):
    line = timeline.Timeline()
    for number in range(5):
        in_thread(f"worker {number}", lambda: line.say("x"))
    line.show("", most=3)
    assert labels(svg(timeline), "row") == ["worker 0", "worker 1", "worker 2", "… 2 more threads"]


def test_the_main_thread_stands_first_and_threads_of_one_name_apart(timeline, capsys):
    line = timeline.Timeline()
    for _ in range(2):
        in_thread("twin", lambda: line.say("x"))
    line.say("x")
    line.show("")
    assert labels(svg(timeline), "row") == ["MainThread", "twin", "twin"]


def test_a_picture_of_nothing_is_drawn(timeline, capsys):
    timeline.Timeline().show("nothing yet")
    assert "nothing yet" in capsys.readouterr().out
    ET.fromstring(svg(timeline))


def test_bars_are_as_long_as_their_values(timeline, capsys):
    timeline.bars("Title", {"a": 1.0, "b": 0.5, "c": 0.0}, "s")
    lengths = [text.count("━") for text in capsys.readouterr().out.splitlines()[2:]]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=1)
    assert lengths[2] == 1
    assert labels(svg(timeline), "row") == ["a", "b", "c"]


class Screen(io.TextIOWrapper):
    """A standard output that is a terminal, or has an encoding of its own."""

    def __init__(self, encoding: str, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals(timeline, clock, monkeypatch, terminal, environment, coloured):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen("utf-8", terminal=terminal)
    monkeypatch.setattr(sys, "stdout", screen)
    line = timeline.Timeline()
    with line.doing("work"):
        clock.now += 1
    line.show("")
    assert ("\x1b[" in screen.text()) is coloured


def test_an_encoding_without_the_characters_gets_others(timeline, clock, monkeypatch):
    screen = Screen("ascii", terminal=False)
    monkeypatch.setattr(sys, "stdout", screen)
    line = timeline.Timeline()
    with line.doing("work"):
        clock.now += 1
    line.show("")
    assert "=work=" in screen.text()


# -- SVG


def test_the_svg_has_every_name_and_label_even_where_it_does_not_fit(timeline, clock, capsys):
    line = timeline.Timeline()

    def work() -> None:
        with line.doing("a <b> & c"):
            clock.now += 0.001
        line.say("<said>")
        clock.now += 1

    in_thread("name & <tag>", work)
    line.show("title <x>")
    assert labels(svg(timeline), "row") == ["name & <tag>"]
    assert labels(svg(timeline), "span") == ["a <b> & c"]
    assert labels(svg(timeline), "title") == ["title <x>"]
    assert "&lt;said&gt;" in svg(timeline)
