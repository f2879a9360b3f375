"""The first six chapters do what they claim, on the interpreter that runs them."""

from __future__ import annotations

import re
import sys

import pytest

from echoserver.serving.interpreter import has_gil
from tour.kit import TOUR, labels, run_chapter

CHAPTERS = sorted(path.stem for path in TOUR.glob("0[1-6]_*.py"))


def bars(output: str, title: str) -> dict[str, float]:
    """Return the values of the bars under a title."""
    (block,) = re.findall(rf"^{title}\n((?:  .*\n)+)", output, re.MULTILINE)
    found = re.findall(r"^  (.*?) +━+ ([\d,.]+) ", block, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in found}


def test_there_are_six():
    assert [name[:2] for name in CHAPTERS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_help_is_what_the_program_says_of_itself(name):
    ran = run_chapter(name, "--help")
    assert ran.code == 0
    assert f"Chapter {int(name[:2])}: " in ran.output
    assert "--svg FILE" in ran.output


def test_01_threads_wait_at_the_same_time_and_an_error_stays_in_its_thread(chapter):
    said = chapter("01_thread").said
    main = [text for thread, text in said if thread == "MainThread"]
    assert main == [
        *("has news", "has weather", "has prices"),
        "has started three threads and goes on",
        "has joined them: all three have ended",
        "join() returned as always: nothing here tells of the error",
        "result() raised the error here: can't read prices",
    ]
    assert sorted(said[4:7]) == [(topic, f"has {topic}") for topic in ("news", "prices", "weather")]
    assert ("by target", "is ended by ValueError: can't read prices") in said


def test_01_the_picture_shows_the_threads_side_by_side(chapter):
    rows = labels(chapter("01_thread").picture, "row")
    assert rows[:2] == ["MainThread", "MainThread"]
    assert sorted(rows[2:]) == ["by target", "news", "prices", "weather"]


def test_02_a_thread_is_alive_and_listed_between_start_and_end(chapter):
    said = [text for thread, text in chapter("02_names").said if thread == "MainThread"]
    states = [re.fullmatch(r"(.*): (.*), (alive|not alive), (listed|not listed), (\d) active", text) for text in said]
    assert [state.groups() for state in states if state is not None] == [
        ("before start", "Thread-1 (work)", "not alive", "not listed", "1"),
        ("running", "Thread-1 (work)", "alive", "listed", "2"),
        ("after the end", "Thread-1 (work)", "not alive", "not listed", "1"),
        ("running", "worker of order 7", "alive", "listed", "2"),
        ("renamed", "worker of order 8", "alive", "listed", "2"),
        ("after the end", "worker of order 8", "not alive", "not listed", "1"),
    ]
    assert "enumerate() lists ['MainThread', 'worker of order 7']; the main thread is MainThread" in said
    assert "is_alive() was True; when the order comes it is False" in said
    assert "a second start: threads can only be started once" in said


def test_03_both_clients_are_served_at_once(chapter):
    ran = chapter("03_server")
    said = {(thread, text) for thread, text in ran.said if text.startswith("sent")}
    assert said == {
        ("anna", "sent anna, received ANNA"),
        ("ben", "sent ben, received BEN"),
        ("anna", "sent bye, received BYE"),
        ("ben", "sent ciao, received CIAO"),
    }
    # Neither sends its second word before the other has the reply to the first.
    assert [text.split()[1].rstrip(",") in ("anna", "ben") for thread, text in ran.said[:4]] == [
        True,
        True,
        False,
        False,
    ]


def test_03_the_twenty_lines_have_five_faults(chapter):
    ran = chapter("03_server")
    cut, split, leak, limit, end = [text for thread, text in ran.said if thread == "MainThread"][:5]
    received = re.fullmatch(r"reply cut: ([\d,]+) of 300,000 bytes arrive", cut)
    assert received is not None
    assert 0 < int(received[1].replace(",", "")) < 300_000
    assert split == "UTF-8 split: the connection ends without a reply"
    # Two clients, the long reply, the half character, and the twenty visits: it has kept them all.
    assert leak == "thread leak: after 20 visits the server keeps 24 threads"
    assert limit == "no limit: 30 of 30 peers are served at the same time"
    assert re.fullmatch(r"no end: the listener is closed, and Thread-\d+ \(talk\) goes on", end)
    assert "ended by UnicodeDecodeError" in [text for _, text in ran.said]


def test_03_the_server_has_none_of_them(chapter):
    cut, split, leak, limit, end = [text for thread, text in chapter("03_server").said if thread == "MainThread"][5:]
    assert cut == "reply cut: 300,000 of 300,000 bytes arrive"
    assert split == "UTF-8 split: the reply is CAFÉ"
    kept = re.fullmatch(r"thread leak: after 20 visits the server keeps (\d+) threads", leak)
    assert kept is not None
    assert int(kept[1]) < 20
    served = re.fullmatch(r"no limit: (\d+) of 30 peers are served at the same time", limit)
    assert served is not None
    assert 0 < int(served[1]) <= 7  # of 8 places, one is taken
    assert end == "no end: after stop() the peer has its reply, LAST WORDS"


def test_03_without_the_package_it_says_what_to_do(tmp_path):
    (tmp_path / "echoserver.py").write_text("raise ImportError('not here')\n")
    ran = run_chapter("03_server", PYTHONPATH=str(tmp_path))
    assert (ran.code, ran.errors) == (0, "")
    assert ("MainThread", "echoserver is not installed here: `make tour CHAPTER=3` installs it") in ran.said


def test_04_the_interpreter_waits_for_threads_and_not_for_daemons(chapter):
    wrote = dict(chapter("04_daemon").said)
    whole = "wrote line 1, line 2, line 3, line 4; ended by itself"
    assert wrote["thread"] == wrote["daemon joined"] == whole
    assert wrote["daemon"].endswith("; ended by itself")
    assert "line 4" not in wrote["daemon"]
    assert wrote["stuck thread"] == "wrote nothing; had to be killed"
    assert wrote["stuck, joined"] == "wrote gave up on the thread; ended by itself"


def test_05_it_knows_its_interpreter(chapter):
    ran = chapter("05_gil")
    version, gil = sys.version.split()[0], "with" if has_gil() else "without"
    assert ran.said[0][1].startswith(f"Python {version} {gil} the GIL, ")
    ways = ["one after the other", "in threads", "in processes"]
    assert list(bars(ran.output, "Four sums")) == ways + ["in subinterpreters"] * (sys.version_info >= (3, 14))


def test_05_threads_wait_at_the_same_time(chapter):
    waits = bars(chapter("05_gil").output, "Four waits")
    assert waits["one after the other"] >= 0.4
    assert waits["in threads"] >= 0.1


def test_05_the_convoy_moves_on_all_cores_and_on_one(chapter):
    trips = bars(chapter("05_gil").output, "The convoy: round trips of 8 pairs of threads")
    assert list(trips) == ["on all cores", "on one core"][: 2 if sys.platform == "linux" else 1]
    assert all(trips.values())


def test_06_the_number_is_wrong_without_a_lock_and_right_with_one(chapter):
    ran = chapter("06_lock")
    assert ran.text("without a lock: ") == "100 sold, 99 left"
    assert ran.text("with a lock: ") == "100 sold, 0 left"
    assert ran.text("each joined before the next: ") == "100 sold, 0 left"
    sales = bars(ran.output, "A hundred sales")
    assert sales["with a lock"] >= 0.1
    assert sales["each joined before the next"] >= 0.6


def test_06_it_says_so_if_nothing_went_wrong_unforced(chapter):
    lost = re.fullmatch(
        r"([\d,]+) lost(, by luck)?", chapter("06_lock").text("2,000,000 changes without a lock or a barrier: ")
    )
    assert lost is not None
    assert (lost[1] == "0") == (lost[2] is not None)
