"""The places of one process, whose number may change, and those that several processes share."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.observe.metrics import CloseReason, ConnectionStats, Metrics
from echoserver.serving.board import Board, Row
from echoserver.serving.places import Places
from support import environment

needs_memfd = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="several processes need Linux")


# -- one process


@given(st.lists(st.one_of(st.just("take"), st.just("give"), st.integers(1, 5))))
def test_there_are_never_more_than_the_limit_allows(steps):
    """Compared with a plain count: a place is free if fewer are taken than the limit allows at that moment."""
    limit, taken = 3, 0
    places = Places(limit)
    for step in steps:
        if step == "take":
            assert places.acquire(blocking=False) == (taken < limit)
            taken += taken < limit
        elif step == "give":
            if taken:
                places.release()
                taken -= 1
        else:
            limit = int(step)
            places.resize(limit)
        assert places.free == max(0, limit - taken)


def test_a_place_that_is_given_back_twice_is_refused():
    places = Places(2)
    assert places.acquire(blocking=False)
    places.release()
    with pytest.raises(ValueError, match="twice"):
        places.release()


# -- several processes


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.new(8, 5)
    yield made
    made.close()


def claimed(board: Board) -> Row:
    row = board.claim()
    assert row is not None
    return row


@needs_memfd
def test_the_places_of_all_rows_are_counted_together(board):
    first, second = claimed(board).places(), claimed(board).places()
    assert [first.acquire(blocking=False) for _ in range(3)] == [True] * 3
    assert [second.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    first.release()
    assert second.acquire(blocking=False)
    board.limit = 6
    assert first.acquire(blocking=False)
    assert not first.acquire(blocking=False)


@needs_memfd
def test_a_place_given_back_wakes_whoever_wants_one(board):
    first, second = claimed(board).places(), claimed(board).places()
    for _ in range(5):
        assert first.acquire(blocking=False)
    poll = select.poll()
    poll.register(second.freed, select.POLLIN)
    first.release()
    assert poll.poll(0) == [], "nobody wants it"
    assert first.acquire(blocking=False)
    second.want(wanted=True)
    first.release()
    assert poll.poll(0)
    second.look()
    assert poll.poll(0) == []
    second.want(wanted=False)


@needs_memfd
def test_what_a_row_held_is_free_when_it_is_buried_and_what_it_counted_is_kept(board):
    row = claimed(board)
    metrics = Metrics(row.counters)
    ended, lost = ConnectionStats(), ConnectionStats()
    ended.bytes_in = 7
    for stats in (ended, lost):
        assert row.places().acquire(blocking=False)
        metrics.opened(stats)
    metrics.closed(ended, CloseReason.EOF)
    assert row.host_limit(1, ()).enter("192.0.2.1")
    counted = board.bury(row)
    assert (counted["accepted"], counted["bytes_in"]) == (2, 7)
    assert counted["closed"]["eof"] == sum(counted["closed"].values()) == 1
    again = claimed(board)
    assert again.index == row.index
    assert Metrics(again.counters).snapshot().accepted == 0
    assert again.host_limit(1, ()).enter("192.0.2.1")
    assert [again.places().acquire(blocking=False) for _ in range(6)] == [True] * 5 + [False]


@needs_memfd
def test_rows_run_out(board):
    rows = [board.claim() for _ in range(9)]
    assert rows[-1] is None
    assert len({row.index for row in rows[:-1]}) == 8


@needs_memfd
@given(st.lists(st.tuples(st.sampled_from(["enter", "leave"]), st.integers(0, 1), st.integers(0, 12))))
def test_hosts_are_counted_as_a_dictionary_would(steps):
    """A table of sixteen entries, in which many addresses meet, compared with plain counts."""
    board = Board.new(2, 8, least_hosts=16)
    limits = [claimed(board).host_limit(2, ()) for _ in range(2)]
    count = {(row, host): 0 for row in range(2) for host in range(13)}
    for what, row, number in steps:
        host = f"192.0.2.{number}" if number % 2 else f"2001:db8::{number}"
        total = count[0, number] + count[1, number]
        if what == "enter" and sum(count.values()) < 8:
            assert limits[row].enter(host) == (total < 2)
            count[row, number] += total < 2
        elif what == "leave" and count[row, number]:
            limits[row].leave(host)
            count[row, number] -= 1
    board.close()


@needs_memfd
def test_an_ipv4_address_and_its_mapped_form_are_the_same_host(board):
    limit = claimed(board).host_limit(1, ())
    assert limit.enter("192.0.2.1")
    assert not limit.enter("::ffff:192.0.2.1")
    limit.leave("::ffff:192.0.2.1")
    assert limit.enter("192.0.2.1")


TAKES_AND_GIVES_BACK = """
import sys
from echoserver.observe.metrics import CloseReason, ConnectionStats, Metrics
from echoserver.serving.board import Board, Row

board = Board(int(sys.argv[1]), int(sys.argv[2]))
row = Row(board, int(sys.argv[3]))
places, hosts, metrics = row.places(), row.host_limit(1, ()), Metrics(row.counters)
print("begins", flush=True)
while True:
    if places.acquire(blocking=False):
        stats = ConnectionStats()
        entered = hosts.enter("192.0.2.1")
        metrics.opened(stats)
        metrics.closed(stats, CloseReason.EOF)
        if entered:
            hosts.leave("192.0.2.1")
        places.release()
"""


@needs_memfd
def test_a_process_that_is_killed_at_any_moment_leaves_nothing_taken():
    """Two processes take places, enter hosts and count, as fast as they can, and one is killed wherever it is."""
    rng = random.Random(4)
    board = Board.new(3, 3)
    survivor = claimed(board)
    places, hosts = survivor.places(), survivor.host_limit(1, ())
    for _ in range(20):
        row = claimed(board)
        arguments = [sys.executable, "-c", TAKES_AND_GIVES_BACK, *map(str, (board.descriptor, board.freed, row.index))]
        passed = (board.descriptor, board.freed)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, pass_fds=passed, env=environment()) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
            for _ in range(rng.randrange(200)):
                assert places.acquire(blocking=False)
                places.release()
            process.kill()
        counted = board.bury(row)
        assert 0 <= counted["accepted"] - sum(counted["closed"].values()) <= 1
        assert [places.acquire(blocking=False) for _ in range(4)] == [True] * 3 + [False]
        for _ in range(3):
            places.release()
        assert hosts.enter("192.0.2.1")
        hosts.leave("192.0.2.1")
    board.close()
