"""Whole runs, in processes, against servers that do one thing wrong, which has to be reported."""

from __future__ import annotations

import random
import socket
import sys
from collections import Counter

import pytest

from echoclient.errors import RefusedError, ResolveError
from echoclient.load import Plan, PlanError, run
from echoclient.load.result import Result
from echoclient.target import Target


def load(port: int, **parameters: object) -> Result:
    # A busy machine may delay a correct server; tests that wait for a reply that never comes set a limit of their own.
    parameters = {"connections": 4, "timeout": 5.0, **parameters}
    return run(Plan(Target(port=port), **parameters))


def kinds(result: Result) -> set[str]:
    return set(result.faults.counts)


@pytest.mark.parametrize(
    "parameters",
    [
        {"messages": 1001, "pipeline": 7},
        {"messages": 1000, "smallest": 1, "largest": 3000},
        {"messages": 500, "smallest": 1, "largest": 3000, "pipeline": 5, "processes": 2},
        {"messages": 1003, "processes": 3, "warmup": 0.05},
        {"messages": 12, "smallest": 700_000, "largest": 700_000, "pipeline": 2},
        {"messages": 301, "rate": 3000.0, "processes": 2, "pipeline": 3},
        {"messages": 201, "churn": True, "processes": 2, "smallest": 10, "largest": 5000},
    ],
    ids=str,
)
def test_every_message_of_a_run_against_a_correct_server_is_answered(serve, scripts, parameters):
    server = serve(scripts.echo)
    result = load(server.port, **parameters)
    assert result.ok, (result.faults.to_json(), result.failures)
    assert result.answered == parameters["messages"]
    assert result.latency is not None
    assert result.latency.count == parameters["messages"]
    assert (result.service is not None) == ("rate" in parameters)
    assert (result.connect is not None) == ("churn" in parameters)
    assert result.payload >= result.answered * result.plan.smallest
    assert sum(interval.total() for interval in result.timeline.intervals) == result.answered
    assert sum(result.timeline.seconds) == result.answered
    assert len(result.processes) == result.plan.processes
    assert result.elapsed > 0


def test_a_duration_ends_a_run_and_the_warm_up_is_not_measured(serve, scripts):
    server = serve(scripts.echo)
    result = load(server.port, duration=0.3, warmup=0.2)
    assert result.ok
    assert 0.3 <= result.elapsed < 0.8
    assert 0 < result.payload < server.received


def test_upper_case_is_expected_if_asked_for(serve, scripts):
    server = serve(scripts.upper)
    assert load(server.port, messages=1000, expect="upper", smallest=1, largest=400).ok
    assert load(server.port, messages=1000, expect="upper").ok


def test_upper_case_is_not_an_echo(serve, scripts):
    assert "CORRUPT" in kinds(load(serve(scripts.upper).port, messages=100))


def test_without_verification_the_bytes_do_not_matter_but_their_number_does(serve, scripts):
    assert load(serve(scripts.upper).port, messages=100, verify=False).ok
    assert kinds(load(serve(scripts.short).port, messages=4, verify=False, timeout=0.4)) == {"SHORT"}


@pytest.mark.parametrize(("sizes", "pipeline"), [((64, 64), 1), ((1, 5000), 4), ((100_000, 100_000), 1)], ids=str)
def test_one_wrong_byte_far_into_a_connection_is_found(serve, scripts, sizes, pipeline):
    server = serve(scripts.corrupt(1_000_003))
    messages = 1_100_000 // (sum(sizes) // 2)
    parameters = {"smallest": sizes[0], "largest": sizes[1], "pipeline": pipeline}
    result = load(server.port, connections=1, messages=messages, **parameters)
    assert not result.ok
    assert result.faults.counts == {"CORRUPT": 1}
    fault = result.faults.examples[0]
    assert (fault.connection, fault.offset) == (0, 1_000_003)
    right, wrong = (int(word, 16) for word in fault.detail.replace(",", "").split() if word.startswith("0x"))
    assert right ^ wrong == 0xFF


def test_a_stall_shows_in_every_message_it_delays_when_sending_is_planned(serve, scripts):
    server = serve(scripts.once(5000, scripts.stall(1.0)))
    result = load(server.port, rate=400.0, duration=1.6, timeout=5.0)
    assert result.ok
    assert result.answered == 640
    assert result.latency is not None
    assert result.service is not None
    assert 0.9 < result.latency.most < 3
    # Some 400 of the 640 were due during the stall; only four were in flight when it began.
    assert result.latency.percentiles[75.0] > 0.3
    assert result.service.percentiles[90.0] < 0.3
    assert result.service.most > 0.9


def test_a_stall_in_a_closed_loop_is_a_gap_in_the_timeline(serve, scripts):
    server = serve(scripts.once(5_000, scripts.stall(0.6)))
    result = load(server.port, duration=0.9, timeout=5.0)
    assert result.ok
    assert result.latency is not None
    assert 0.5 < result.latency.most < 3
    assert sum(not interval for interval in result.timeline.intervals) >= 3


def test_random_resets_are_counted_and_the_load_continues(serve, scripts):
    chance = random.Random(5)

    def script(talk, data):
        return scripts.reset(talk, data) if chance.random() < 0.02 else data

    result = load(serve(script).port, messages=1000)
    assert kinds(result) == {"RESET"}
    assert result.faults.counts["RESET"] == result.lost
    assert result.answered + result.lost == 1000
    assert not result.ok


def test_every_connection_of_a_churn_has_bytes_of_its_own(serve, scripts):
    first = []

    def script(_, data):
        first.append(data)
        return data

    assert load(serve(script).port, messages=100, churn=True, processes=2).ok
    assert len(first) == len(set(first)) == 100


@pytest.mark.skipif(sys.platform != "linux", reason="only there is all of 127.0.0.0/8 this machine")
@pytest.mark.parametrize(
    "parameters", [{"churn": True}, {"connections": 60}, {"connections": 6, "processes": 6}], ids=str
)
def test_connections_come_from_the_sources_in_turn(serve, scripts, parameters):
    hosts = []

    def script(talk, data):
        hosts.append(talk.host)
        return data

    sources = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
    assert load(serve(script).port, messages=60, sources=sources, **parameters).ok
    assert Counter(hosts) == dict.fromkeys(sources, 20)


def test_churn_continues_after_the_warm_up(serve, scripts):
    first = []

    def script(_, data):
        first.append(data)
        return data

    result = load(serve(script).port, messages=50, churn=True, warmup=0.1)
    assert result.ok
    assert result.answered == 50
    assert len(first) == len(set(first)) > 50  # those of the warm-up too, and each has its own bytes


def test_resets_while_churning(serve, scripts):
    chance = random.Random(5)

    def script(talk, data):
        return scripts.reset(talk, data) if chance.random() < 0.05 else data

    result = load(serve(script).port, messages=300, churn=True)
    assert kinds(result) == {"RESET"}
    assert result.answered + result.lost == 300


def test_a_server_that_closes_early(serve, scripts):
    result = load(serve(scripts.once(20_000, scripts.close)).port, messages=2000)
    assert result.faults.counts == {"CLOSED": 1}
    assert result.lost == 1
    assert result.faults.examples[0].detail == "closed with replies due: 1"


def test_a_server_that_closes_after_every_message(serve, scripts):
    def script(talk, data):
        if talk.offset:
            raise scripts.close(talk, data)
        return data

    result = load(serve(script).port, messages=20)
    assert kinds(result) <= {"CLOSED", "RESET"}
    assert result.answered + result.lost == 20


def test_a_server_whose_reply_is_incomplete(serve, scripts):
    result = load(serve(scripts.once(5000, scripts.short)).port, messages=2000, timeout=0.4)
    assert result.faults.counts == {"SHORT": 1}
    assert result.faults.examples[0].detail == "63 of 64 bytes of a reply came within 0.4 s"


def test_a_server_that_answers_short_and_closes(serve, scripts):
    def script(talk, data):
        return data if talk.offset == 0 else scripts.close(talk, data)

    result = load(serve(script).port, connections=1, messages=1, smallest=70_000, largest=70_000)
    assert result.faults.counts.keys() <= {"SHORT", "RESET"}
    assert not result.ok


def test_waiting_for_last_replies_that_never_come_does_not_lower_the_rate(serve, scripts):
    def script(talk, data):
        return b"" if talk.number == 2 else data

    result = load(serve(script).port, duration=0.3, timeout=1.0)
    assert result.faults.counts == {"TIMEOUT": 1}
    assert 0.3 <= result.elapsed < 0.9


def test_a_server_that_does_not_answer(serve, scripts):
    result = load(serve(scripts.silent).port, messages=8, timeout=0.4)
    assert kinds(result) == {"TIMEOUT"}
    assert result.answered == 0
    assert result.latency is None
    assert result.lost == 8
    assert not result.ok


@pytest.mark.parametrize("parameters", [{}, {"pipeline": 3}], ids=str)
def test_a_server_that_sends_too_much(serve, scripts, parameters):
    result = load(serve(scripts.extra).port, messages=8, **parameters)
    assert result.faults.total
    assert kinds(result) <= {"EXTRA", "CORRUPT"}


def test_an_unexpected_greeting(serve, scripts):
    result = load(serve(scripts.extra).port, connections=1, messages=1)
    assert result.faults.counts == {"EXTRA": 1}
    assert result.faults.examples[0].offset == 64


def test_no_server_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound, not listening: refuses connections, and no other process can take the port
        with pytest.raises(RefusedError):
            load(sock.getsockname()[1], messages=10)


def test_a_name_that_does_not_resolve():
    with pytest.raises(ResolveError):
        run(Plan(Target("no-such-host.invalid", 1), messages=16))


@pytest.mark.parametrize("parameters", [{}, {"churn": True}, {"rate": 2000.0}], ids=str)
def test_a_server_that_vanishes_ends_the_run(serve, scripts, parameters):
    server = serve(scripts.once(20_000, scripts.vanish))
    result = load(server.port, duration=50.0, timeout=0.5, **parameters)
    assert result.elapsed < 10
    assert "REFUSED" in kinds(result)
    assert result.failures == ["load process 0: no connection could be opened for 0.5 s"]
    assert not result.ok


def test_a_rate_far_above_what_the_server_can_take_is_reported(serve, scripts):
    def script(talk, data):
        talk.server.stopping.wait(0.01)
        return data

    result = load(serve(script).port, rate=1e8, duration=0.2, connections=2, timeout=0.4)
    assert result.unsent > 1e7
    assert result.answered > 0
    assert not result.faults.total
    assert result.elapsed < 5
    assert not result.ok


def test_more_connections_than_the_open_file_limit_allows():
    with pytest.raises(PlanError, match="open files in a process, and the limit is"):
        run(Plan(connections=60_000, messages=60_000))


def test_many_connections(serve, scripts):
    server = serve(scripts.echo)
    result = load(server.port, connections=400, messages=2000, timeout=5.0)
    assert result.ok
    assert server.accepted == 401  # one more connection found the address


def test_progress_is_reported_twice_a_second(serve, scripts):
    seen = []
    result = run(Plan(Target(port=serve(scripts.echo).port), duration=0.8), progress=seen.append)
    assert result.ok
    measured = [snapshot for snapshot in seen if snapshot.phase == "measuring"]
    assert measured
    assert all(snapshot.rate > 0 and 0 < snapshot.median <= snapshot.p99 for snapshot in measured)
    assert all(0 <= snapshot.left <= 0.8 for snapshot in measured)
