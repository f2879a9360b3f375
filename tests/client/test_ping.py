"""ping: what is counted, and what the exit status says."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.kit import PATIENCE, echo, hold, read_exactly, reset, run, started, upper
from echoclient.errors import ClosedError, ResetError
from echoclient.interrupt import Interrupt
from echoclient.pinger import PERCENTILES, Pinger, PingStats, payload
from echoclient.session import connect
from echoclient.target import Target

SIZE = 16


@pytest.fixture
def ping(serve):
    """Ping a server: `ping(manners, count)` returns the stats and the lines; `ping.stats` is there after a failure."""

    def run_pinger(manners, count=1, *, size=SIZE, interval=0.0, timeout=PATIENCE):
        lines = []
        with connect(Target(port=serve(manners).port)) as session, Interrupt() as interrupt:
            pinger = Pinger(session, size=size, interval=interval, timeout=timeout, report=lines.append)
            run_pinger.stats = pinger.stats
            pinger.run(count, interrupt)
        return pinger.stats, lines

    return run_pinger


@pytest.mark.parametrize("manners", [echo, upper])
def test_each_reply_has_its_line(ping, manners):
    stats, lines = ping(manners, 3)
    for sequence, line in enumerate(lines, 1):
        assert re.fullmatch(rf"16 bytes from 127\.0\.0\.1:\d+: seq={sequence} time=[0-9.]+ ms", line)
    assert (stats.sent, stats.received, stats.lost, stats.clean) == (3, 3, 0, True)


@pytest.mark.parametrize("size", [1, 2, 4_000_000])
def test_any_size_and_large_ones_do_not_deadlock(ping, size):
    assert ping(echo, 2, size=size)[0].received == 2


@pytest.mark.parametrize("interval", [0.0, 0.01])
def test_what_never_comes_back_is_lost(ping, interval):
    stats, lines = ping(hold, 3, interval=interval, timeout=0.05)
    assert (stats.sent, stats.received, stats.lost, stats.clean) == (3, 0, 3, False)
    assert lines == [f"no reply within 50ms: seq={sequence}" for sequence in (1, 2, 3)]


def test_a_late_reply_is_timed_from_its_own_sending(ping):
    """While the server stalls, messages are sent at the same rate; each is timed from its own sending."""

    def stalls(connection):
        connection.sendall(read_exactly(connection, 5 * SIZE))
        hold(connection)

    stats, lines = ping(stalls, 5, interval=0.2, timeout=0.7)
    assert (stats.sent, stats.received, stats.lost) == (5, 5, 0)
    assert stats.round_trips == sorted(stats.round_trips, reverse=True)
    assert stats.round_trips[0] >= 4 * 0.2
    assert lines[0] == "no reply within 700ms: seq=1"


def test_a_changed_byte_is_damage(ping):
    def changes_the_second(connection):
        connection.sendall(read_exactly(connection, SIZE))
        reply = bytearray(read_exactly(connection, SIZE))
        reply[7] ^= 1
        connection.sendall(reply)
        echo(connection)

    stats, lines = ping(changes_the_second, 3)
    assert (stats.received, stats.damaged, stats.lost, stats.clean) == (2, 1, 0, False)
    assert lines[1].endswith("seq=2 the reply differs at offset 7")


def test_what_nobody_asked_for_is_counted_and_not_kept(ping):
    def talkative(connection):
        connection.sendall(read_exactly(connection, SIZE) + b"and more")
        echo(connection)

    stats, _ = ping(talkative, 1)
    assert (stats.received, stats.stray_bytes, stats.clean) == (1, 8, False)


def test_the_server_ends_the_connection(ping):
    with pytest.raises(ClosedError):
        ping(lambda connection: connection.sendall(read_exactly(connection, SIZE)), 5, interval=PATIENCE)
    assert ping.stats.received == 1


def test_the_server_resets_the_connection(ping):
    with pytest.raises(ResetError):
        ping(lambda connection: read_exactly(connection, SIZE) and reset(connection), 5)
    assert (ping.stats.sent, ping.stats.lost) == (1, 1)


def test_what_still_had_time_at_ctrl_c_is_not_lost(ping):
    def interrupts(connection):
        connection.sendall(read_exactly(connection, SIZE))
        read_exactly(connection, SIZE)
        os.kill(os.getpid(), signal.SIGINT)
        hold(connection)

    stats, _ = ping(interrupts, None)
    assert (stats.sent, stats.received, stats.in_flight, stats.lost, stats.clean) == (2, 1, 1, 0, True)


def test_ctrl_c_works_as_before_afterwards():
    handler = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.seen
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.set_wakeup_fd(-1) == -1


@given(st.integers(1, 10**9), st.integers(1, 500))
def test_the_payload_survives_upper_case_and_tells_pings_apart(sequence, size):
    data = payload(sequence, size)
    assert len(data) == size
    assert data.upper() == data
    if size > 10:
        assert data != payload(sequence + 1, size)
        assert data.endswith(b"\n")


@given(st.lists(st.floats(0, 1000, allow_subnormal=False), min_size=1))
def test_percentiles_are_times_that_were_seen(seconds):
    stats = PingStats(sent=len(seconds), round_trips=seconds)
    figures = stats.round_trip_ms()
    milliseconds = [1000 * value for value in seconds]
    assert (figures["min"], figures["max"]) == (min(milliseconds), max(milliseconds))
    for rank in PERCENTILES:
        value = figures[f"p{rank}"]
        assert value in milliseconds
        assert 100 * sum(other <= value for other in milliseconds) >= rank * len(milliseconds)
        assert 100 * sum(other < value for other in milliseconds) < rank * len(milliseconds)


def test_the_summary():
    stats = PingStats(sent=4, damaged=1, in_flight=1, stray_bytes=3, round_trips=[0.001, 0.003])
    assert str(stats).splitlines() == [
        "4 sent, 2 received, 0 lost (0 %), 1 damaged, 1 still in flight, 3 stray bytes",
        "round trip min/mean/p50/p90/p99/max = 1.000/2.000/1.000/3.000/3.000/3.000 ms",
    ]
    assert str(PingStats(sent=3)) == "3 sent, 0 received, 3 lost (100 %)"


def test_json_alone_on_standard_output(serve):
    port = serve().port
    result = run("ping", port, "-c", 5, "-i", 0, "-s", 100, "--json")
    assert (result.returncode, result.stderr) == (0, b"")
    figures = json.loads(result.stdout)
    assert {name: figures[name] for name in ("target", "size", "sent", "received", "lost", "error")} == {
        "target": f"127.0.0.1:{port}",
        "size": 100,
        "sent": 5,
        "received": 5,
        "lost": 0,
        "error": None,
    }
    assert list(figures["round_trip_ms"]) == ["min", "mean", "p50", "p90", "p99", "max"]


def test_a_loss_exits_1_and_so_does_a_broken_connection(serve):
    lost = run("ping", serve(hold).port, "-c", 1, "--timeout", "50ms")
    assert lost.returncode == 1
    assert b"1 sent, 0 received, 1 lost (100 %)" in lost.stdout
    broken = run("ping", serve(lambda connection: connection.recv(1)).port, "-c", 1, "--json")
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["error"] in ("RESET", "CLOSED")
    assert re.match(rb"echoclient: (RESET|CLOSED) 127\.0\.0\.1:", broken.stderr)


def test_ctrl_c_prints_the_summary(serve):
    with started("ping", serve().port, "-i", "10ms") as process:
        for line in process.stdout:
            if b"seq=3" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().decode()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
    assert " 0 lost (0 %)" in rest
    assert "round trip min/mean" in rest


def test_a_reader_that_goes_away_ends_it_without_a_traceback(serve):
    with started("ping", serve().port, "-i", "10ms") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1
