"""Chapters 7 to 12 do what they claim, on the interpreter that runs them."""

from __future__ import annotations

import re
import select
import sys

import pytest

from tour.kit import TOUR, run_chapter

CHAPTERS = sorted(path.stem for path in TOUR.glob("*.py") if path.stem[:2] in ("07", "08", "09", "10", "11", "12"))


def number_in(pattern: str, texts: list[str]) -> int:
    """Return the number in the one text that matches."""
    (found,) = filter(None, (re.fullmatch(pattern, text) for text in texts))
    return int(found[1].replace(",", ""))


def test_there_are_six():
    assert [name[:2] for name in CHAPTERS] == ["07", "08", "09", "10", "11", "12"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_help_is_what_the_program_says_of_itself(name):
    ran = run_chapter(name, "--help")
    assert ran.code == 0
    assert f"Chapter {int(name[:2])}: " in ran.output
    assert "--svg FILE" in ran.output


def test_07_the_watchdog_names_holder_and_waiter_of_each_lock(chapter):
    said = chapter("07_deadlock").said
    assert sorted(said[:2]) == [
        ("MainThread", "deadlock: anna waits for B, held by ben"),
        ("MainThread", "deadlock: ben waits for A, held by anna"),
    ]
    # Nothing but giving up ends it.
    assert said[2:4] == [("ben", "I give up on A"), ("anna", "I hold A and B")]


def test_07_one_order_is_the_cure(chapter):
    said = chapter("07_deadlock").said
    assert sorted(said[4:6]) == [("anna", "I hold A and B"), ("ben", "I hold A and B")]
    assert said[6] == ("MainThread", "deadlock: nobody")


def test_07_a_thread_waits_for_itself_and_with_an_rlock_does_not(chapter):
    said = chapter("07_deadlock").said
    assert said[7:9] == [
        ("MainThread", "deadlock: clerk waits for drawers, held by clerk"),
        ("clerk", "I give up on drawers"),
    ]
    assert said[9:11] == [("clerk", "100 are in the drawers, and I count 100"), ("MainThread", "deadlock: nobody")]


def test_07_an_rlock_hides_that_the_count_is_wrong(chapter):
    said = chapter("07_deadlock").said
    assert said[11:] == [("clerk", "100 are in the drawers, and I count 90"), ("MainThread", "deadlock: nobody")]


def test_08_a_bell_is_lost_and_an_event_is_not(chapter):
    assert chapter("08_event").said[:3] == [
        ("database", "up: I set the flag, rang the bell and set the event"),
        ("MainThread", "woken by the bell: False; the flag is True"),
        ("MainThread", "event.wait() returns True at once"),
    ]


def test_08_both_threads_wait_for_the_database_until_it_is_up(chapter):
    said = chapter("08_event").said[3:-1]
    for name in ("shop", "mail"):
        (*waited, answer) = [text for thread, text in said if thread == name]
        assert set(waited) <= {"not up yet"}
        assert answer == "it answers HELLO"


def test_08_ctrl_c_ends_the_wait_of_the_main_thread(chapter):
    assert chapter("08_event").said[-1] == ("MainThread", "Ctrl-C: after up.clear(), up.wait() returns False")


def test_09_as_many_are_inside_as_there_are_places(chapter):
    said = [text for _, text in chapter("09_semaphore").said]
    assert [text for text in said if "inside" in text] == [
        "at most 20 were inside at once",
        "at most 5 were inside at once",
    ]


def test_09_a_bounded_semaphore_notices_one_release_too_many(chapter):
    said = [text for _, text in chapter("09_semaphore").said]
    assert "Semaphore(5) has 6 free places" in said
    assert "BoundedSemaphore: Semaphore released too many times" in said
    assert "BoundedSemaphore(5) has 5 free places" in said


def test_09_a_peer_without_a_slot_waits_and_is_served(chapter):
    said = [text for _, text in chapter("09_semaphore").said]
    assert said[-2:] == ["2 are served, and the third waits in the kernel", "3 were served, and 0 were sent away"]


def test_10_each_queue_has_its_order(chapter):
    said = [text for _, text in chapter("10_queues").said]
    assert said[:7] == [
        "Queue of 2, 3, 1 gives [2, 3, 1]",
        "LifoQueue of 2, 3, 1 gives [1, 3, 2]",
        "PriorityQueue of 2, 3, 1 gives [1, 2, 3]",
        "equal priorities: '<' not supported between instances of 'dict' and 'dict'",
        "equal priorities with serial numbers: ['a', 'b']",
        "Empty: 0 of 1 places are taken",
        "Full: 1 of 1 places are taken",
    ]


def test_10_join_hangs_if_one_task_done_is_missing(chapter):
    said = [text for _, text in chapter("10_queues").said]
    assert said[7:9] == ["join() hangs: 1 job is not done, but 0 are queued", "join() has returned"]
    assert said.count("join() has returned") == 2
    assert sum(text.startswith("join() hangs") for text in said) == 1


def test_10_the_consumers_end_in_the_way_this_version_has(chapter):
    said = [text for _, text in chapter("10_queues").said]
    ways = [2, 2] if sys.version_info >= (3, 13) else [4, 0]
    assert [said.count("I got the stop sign and pass it on"), said.count("I got ShutDown: nothing is left")] == ways


def test_11_the_queue_grows_without_a_bound_and_only_then(chapter):
    said = [text for _, text in chapter("11_producer_consumer").said if text.startswith("at most")]
    unbounded, bounded, fast_consumer = [number_in(r"at most (\d+) in the queue", [text]) for text in said]
    assert unbounded > 3
    assert bounded == 3
    assert fast_consumer <= 3


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="the workers mode needs epoll")
def test_11_a_slow_handler_holds_up_the_peers_themselves(chapter):
    said = [text for _, text in chapter("11_producer_consumer").said]
    assert "2 served, 3 queued, and the poller waits for a place" in said
    assert number_in(r"the kernel took (\d+) bytes more, and now that peer waits", said) > 1000


def test_12_without_a_condition_a_thread_looks_again_and_again(chapter):
    said = [text for _, text in chapter("12_condition").said]
    assert number_in(r"looked ([\d,]+) times for one loaf", said) > 100


def test_12_whoever_looks_once_finds_the_shelf_empty(chapter):
    said = chapter("12_condition").said
    assert sorted(text for _, text in said[1:3]) == ["I take the loaf", "I was woken, and the shelf is empty"]
    assert [text for _, text in said[3:5]] == ["I take the loaf", "I take the loaf"]
    for pair in (said[1:3], said[3:5]):
        assert sorted(thread for thread, _ in pair) == ["customer-1", "customer-2"]


def test_12_the_server_waits_for_its_last_connection_and_cuts_one_that_hangs(chapter):
    said = chapter("12_condition").said[5:]
    assert sorted(said[:2]) == [("MainThread", "stop() had to cut 0 connections"), ("visitor", "received b'hello'")]
    assert sorted(said[2:]) == [("MainThread", "stop() had to cut 1 connections"), ("visitor", "received b''")]
