"""What a peer meets of each kind of fault, over each transport and in every way to serve a connection."""

from __future__ import annotations

import pytest

from echoserver.handlers import Last
from server.fault_kit import bye, heard, is_silent, took
from server.kit import scripted
from server.log_lines import LogLines
from server.over_kit import everywhere
from server.ways import wait_until_settled

DATA = bytes(range(256)) * 8


def ended(log: LogLines, server, reason: str, *faults: str, **counted: int) -> None:
    """Check what the log, the counters and the balance say of the only connection."""
    wait_until_settled(server)
    (line,) = log.wait_for("connection ended")
    assert line["reason"] == reason, line
    assert line.get("faults", []) == list(faults)
    assert ("ticket" in line) == bool(faults)
    stats = server.stats()
    assert stats.closed[reason] == 1
    assert stats.faults == counted


@everywhere
def test_a_delay(with_faults, wired, log):
    server = with_faults("delay=60ms")
    peer = wired(server)
    assert took(lambda: (peer.send(b"late"), peer.read(4))) >= 0.06
    peer.finish()
    assert heard(peer) == (b"", "end")
    ended(log, server, "eof", "delay 60 ms before reply 1", delay=1)


@everywhere
def test_a_delay_before_a_byte(with_faults, wired, log):
    server = with_faults("delay=200ms@byte 3")
    peer = wired(server)
    peer.send(b"abcdef")
    assert peer.read(3) == b"abc"
    assert is_silent(peer, 0.02)
    assert peer.read(3) == b"def"
    peer.finish()
    assert heard(peer) == (b"", "end")
    ended(log, server, "eof", "delay 200 ms before byte 3", delay=1)


@everywhere
def test_a_throttle_holds_over_several_replies(with_faults, wired, log):
    server = with_faults("throttle=20kB/s")
    peer = wired(server)

    def exchange() -> None:
        for _ in range(4):
            peer.send(DATA)
            assert peer.read(len(DATA)) == DATA

    # What is sent at the end of the time is not waited for.
    assert took(exchange) >= (4 * len(DATA) - 400) / 20_000
    peer.finish()
    assert heard(peer) == (b"", "end")
    wait_until_settled(server)
    assert server.stats().faults == {"throttle": server.stats().replies}
    assert server.stats().bytes_out == 4 * len(DATA)


@everywhere
def test_slices(with_faults, wired, log):
    server = with_faults("slice=3,20ms")
    peer = wired(server)
    peer.send(b"abcdefgh")
    assert [peer.read_some(), peer.read_some(), peer.read_some()] == [b"abc", b"def", b"gh"]
    peer.finish()
    assert heard(peer) == (b"", "end")
    ended(log, server, "eof", "slice from byte 0", slice=1)


@everywhere
def test_a_stall_for_a_time(with_faults, wired, log):
    server = with_faults("stall=80ms@msg 2")
    peer = wired(server)
    peer.send(b"one")
    assert peer.read(3) == b"one"
    assert took(lambda: (peer.send(b"two"), peer.read(3))) >= 0.08
    peer.finish()
    assert heard(peer) == (b"", "end")
    ended(log, server, "eof", "stall 80 ms before reply 2", stall=1)


@everywhere
def test_a_stall_for_ever(with_faults, wired, log):
    server = with_faults("stall@byte 2")
    peer = wired(server)
    peer.send(b"abcdef")
    assert peer.read(2) == b"ab"
    assert is_silent(peer, 0.15)
    assert took(server.stop) < 2
    assert heard(peer)[0] == b"cdef"
    ended(log, server, "drained", "stall for ever after 2 bytes", stall=1)


@everywhere
@pytest.mark.parametrize("more", [b"", b"unread" * 10])
def test_a_reset(with_faults, wired, log, over, more):
    server = with_faults("reset@byte 5")
    peer = wired(server)
    peer.send(b"hello" + more)
    got, how = heard(peer)
    assert got == b"hello"
    assert how == ("end" if over.unix else "reset")
    ended(log, server, "fault", "reset after 5 bytes", reset=1)


@everywhere
def test_a_reset_in_place_of_the_first_reply(with_faults, wired, log, over):
    server = with_faults("reset")
    peer = wired(server)
    peer.send(b"hello")
    assert heard(peer) == (b"", "end" if over.unix else "reset")
    ended(log, server, "fault", "reset in place of reply 1", reset=1)


@everywhere
def test_a_close_after_a_byte_while_the_peer_sends(with_faults, wired, log):
    server = with_faults("close@byte 5000")
    peer = wired(server)
    peer.send(DATA * 10)
    got, how = heard(peer)
    assert (got, how) == ((DATA * 10)[:5000], "end")
    peer.send(b"more")  # it lingers: this is no reset
    bye(peer)
    ended(log, server, "fault", "close after 5000 bytes", close=1)


@everywhere
def test_a_half_close(with_faults, wired, log):
    server = with_faults("halfclose@byte 3")
    peer = wired(server)
    peer.send(b"abcdef")
    assert heard(peer) == (b"abc", "end")
    for _ in range(5):
        peer.send(DATA)
    bye(peer)
    wait_until_settled(server)
    assert server.stats().bytes_in == 6 + 5 * len(DATA)
    assert server.stats().bytes_out == 3
    ended(log, server, "eof", "halfclose after 3 bytes", halfclose=1)


@everywhere
def test_a_half_close_by_itself_during_a_flow(with_faults, wired, log):
    server = with_faults("halfclose@byte 4096")
    peer = wired(server)
    peer.send(DATA * 4)
    assert heard(peer) == (DATA * 2, "end")
    peer.send(DATA * 4)
    bye(peer)
    wait_until_settled(server)
    assert server.stats().bytes_in == 8 * len(DATA)
    ended(log, server, "eof", "halfclose after 4096 bytes", halfclose=1)


@everywhere
def test_a_corrupted_byte(with_faults, wired, log):
    server = with_faults("corrupt@byte 100")
    peer = wired(server)
    peer.send(DATA)
    got = peer.read(len(DATA))
    assert [at for at, (a, b) in enumerate(zip(got, DATA, strict=True)) if a != b] == [100]
    peer.finish()
    assert heard(peer) == (b"", "end")
    ended(log, server, "eof", "corrupt at byte 100", corrupt=1)


@everywhere
def test_a_corrupted_share_is_the_same_however_data_arrives(with_faults, wired, log):
    server = with_faults("corrupt=2%@#1", fault_seed=7)
    results = []
    for size in (len(DATA), 100, 7):
        peer = wired(server)
        got = b""
        for at in range(0, len(DATA), size):
            peer.send(DATA[at : at + size])
            got += peer.read(len(DATA[at : at + size]))
        results.append(sum(a != b for a, b in zip(got, DATA, strict=True)))
        peer.finish()
        assert heard(peer) == (b"", "end")
    assert all(10 < found < 90 for found in results)
    wait_until_settled(server)


@everywhere
def test_a_dropped_and_a_duplicated_reply(with_faults, wired, log):
    server = with_faults("drop@msg 2", "duplicate@msg 3")
    peer = wired(server)
    peer.send(b"one")
    assert peer.read(3) == b"one"
    peer.send(b"two")
    assert is_silent(peer, 0.05)
    peer.send(b"three")
    assert peer.read(10) == b"threethree"
    peer.finish()
    assert heard(peer) == (b"", "end")
    wait_until_settled(server)
    assert server.stats().bytes_out == 13
    ended(log, server, "eof", "drop reply 2", "duplicate reply 3", drop=1, duplicate=1)


@everywhere
@pytest.mark.parametrize(("rule", "end"), [("reset", "reset"), ("close", "end"), ("halfclose", "end")])
def test_an_end_by_itself_although_the_peer_is_silent(with_faults, wired, log, over, rule, end):
    server = with_faults(f"{rule}@after 150ms")
    peer = wired(server)
    assert took(lambda: heard(peer)) < 0.6
    if rule != "halfclose":
        wait_until_settled(server)
    else:
        peer.send(b"still heard")
        bye(peer)
    ended(log, server, "eof" if rule == "halfclose" else "fault", f"{rule} at 150 ms", **{rule: 1})


@everywhere
def test_greeting_iterator_last_words(with_faults, wired, log):
    """Each piece of an iterator is a message of its own, and so are the greeting and the last words."""
    handler = scripted(
        greet=lambda: b"hi ",
        feed=lambda data: iter([b"1", data, Last(b"end")]) if data == b"go" else data,
        blocking=False,
    )
    server = with_faults("duplicate@msg 1", "drop@msg 3", handler=handler)
    peer = wired(server)
    assert peer.read(6) == b"hi hi "
    peer.send(b"go")
    assert heard(peer) == (b"1end", "end")
    ended(log, server, "finished", "duplicate reply 1", "drop reply 3", duplicate=1, drop=1)


@everywhere
def test_last_words(with_faults, wired, log):
    server = with_faults("duplicate@msg 2", handler=scripted(finish=lambda: b"bye", blocking=False))
    peer = wired(server)
    peer.send(b"x")
    assert peer.read(1) == b"x"
    peer.finish()
    assert heard(peer) == (b"byebye", "end")
    ended(log, server, "eof", "duplicate reply 2", duplicate=1)
