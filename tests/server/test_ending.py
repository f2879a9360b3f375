"""How connections end: each reason provoked, and that what was said before the end still arrives."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from time import monotonic

import pytest

from echoserver import Handler
from echoserver.net.splice import MOVE_BYTES
from echoserver.observe.metrics import CloseReason
from server.kit import PATIENCE, Gate, Peer, drain_begun, scripted, wait_arrived, wait_until_idle

MIB = 1024 * 1024


def served_as_ever(connect, server) -> bool:
    return connect(server).swap(b"still here") == b"still here"


# -- the peer ends it


def test_eof_is_logged_once_with_its_figures(serve, connect, log):
    server = serve()
    peer = connect(server)
    assert peer.swap(b"hello") == b"hello"
    line = log.ended(peer)
    assert line["level"] == "info"
    assert line["id"] == 1
    assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (5, 5, "eof")
    assert 0 <= line["seconds"] < PATIENCE
    wait_until_idle(server)
    assert len(log.lines("connection ended")) == 1


def test_a_probe_without_a_byte_is_no_news(serve, connect, log):
    server = serve()
    peer = connect(server)
    peer.close()
    (line,) = log.wait_for("connection ended")
    assert (line["level"], line["reason"], line["bytes_in"]) == ("debug", "eof", 0)


def test_a_peer_that_resets_while_it_is_silent(serve, connect, log):
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    peer.reset()
    line = log.ended(peer)
    assert (line["reason"], line["error"], line["level"]) == ("reset", "ECONNRESET", "info")
    assert served_as_ever(connect, server)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_that_resets_in_the_middle_of_a_reply(serve, connect, log, blocking):
    server = serve(scripted(feed=lambda data: data * (12 * MIB) if data == b"?" else data, blocking=blocking))
    peer = connect(server)
    peer.send(b"?")
    peer.read(100_000)
    peer.reset()
    line = log.ended(peer)
    assert line["reason"] == "reset"
    assert line["error"] in ("ECONNRESET", "EPIPE")
    assert served_as_ever(connect, server)


def test_a_peer_that_resets_while_the_handler_thinks(serve, connect, log, gate):
    server = serve(gate)
    peer = connect(server)
    peer.send(b"hello")
    gate.wait_entered()
    peer.reset()
    gate.open()
    assert log.ended(peer)["reason"] == "reset"
    assert served_as_ever(connect, server)


# -- time limits


def test_a_peer_that_never_says_anything_is_idle(serve, connect, log):
    server = serve(idle_timeout=0.2)
    begun = monotonic()
    peer = connect(server)
    assert peer.read_to_end() == b""
    assert monotonic() - begun >= 0.2
    assert log.ended(peer)["reason"] == "idle"


def test_a_peer_that_falls_silent_is_idle(serve, connect, log):
    server = serve(idle_timeout=0.2)
    peer = connect(server)
    begun = monotonic()  # before: the reply may have been there for a while when this thread gets to read it
    assert peer.exchange(b"hello") == b"hello"
    assert peer.read_to_end() == b""
    # What the janitor knows is when it looked: it may have seen the last byte move a look before this clock started.
    assert monotonic() - begun >= 0.2 - 0.05
    line = log.ended(peer)
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("idle", 5, 5)


def test_a_peer_that_is_silent_after_a_greeting_is_idle_not_stalled(serve, connect, log):
    server = serve(scripted(greet=lambda: b"welcome"), idle_timeout=0.3, write_timeout=0.1)
    peer = connect(server)
    assert peer.read_to_end() == b"welcome"
    assert log.ended(peer)["reason"] == "idle"


def test_the_last_words_are_said_to_an_idle_peer(serve, connect, log):
    server = serve(scripted(finish=lambda: b"too late"), idle_timeout=0.1)
    peer = connect(server)
    assert peer.read_to_end() == b"too late"
    assert log.ended(peer)["reason"] == "idle"


def test_a_peer_that_keeps_talking_is_not_idle(serve, connect, log):
    server = serve(idle_timeout=0.2)
    talking = connect(server)
    for _ in range(2):
        silent = connect(server)
        while not log.lines("connection ended", peer=silent.name):
            assert talking.exchange(b"x") == b"x"
    assert log.lines("connection ended", peer=talking.name) == []
    talking.finish()
    assert talking.read_to_end() == b""
    assert log.ended(talking)["reason"] == "eof"


def test_a_handler_that_takes_long_does_not_make_its_peer_idle(serve, connect, log):
    gate = Gate()
    server = serve(scripted(feed=lambda data: gate(data) if data == b"slow" else data), idle_timeout=0.1)
    busy = connect(server)
    busy.send(b"slow")
    gate.wait_entered()
    for _ in range(2):
        assert connect(server).read_to_end() == b""  # twice the limit, one after another
    gate.open()
    assert busy.read(4) == b"slow"
    assert busy.read_to_end() == b""
    assert log.ended(busy)["reason"] == "idle"  # now it is


@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_that_never_reads_is_stalled(serve, connect, log, blocking):
    """Whenever the reply that it does not read was given: at the start, in the middle, at the end."""
    moments, asked = iter(["greet", "feed", "finish"]), threading.Event()

    class Verbose(scripted(blocking=blocking)):
        def __init__(self) -> None:
            self.moment = next(moments, None) if tried else None
            tried.append(self)

        def say(self, moment: str) -> bytes:
            assert asked.wait(PATIENCE)  # who is stalled is reset, and could not ask any more
            return b"x" * (12 * MIB) if moment == self.moment else b""

        def greet(self) -> bytes:
            return self.say("greet")

        def feed(self, _: bytes) -> bytes:
            return self.say("feed")

        def finish(self) -> bytes:
            return self.say("finish")

    tried: list[Handler] = []  # the first is made when the server is, to see whether that works
    server = serve(Verbose, write_timeout=0.1)
    begun = monotonic()
    peers = [connect(server) for _ in range(3)]
    for peer in peers:
        peer.send(b"?")
        peer.finish()
    asked.set()
    for peer in peers:
        assert log.ended(peer)["reason"] == "stalled"
        # It was abusing us: it is reset, so that the kernel does not keep megabytes for it.
        with pytest.raises(ConnectionResetError):
            peer.read(12 * MIB)
    assert monotonic() - begun >= 0.1
    wait_until_idle(server)


def test_a_flood_that_is_never_read_is_stalled(serve, connect, log):
    server = serve(write_timeout=0.2)
    peer = connect(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        peer.send(bytes(256 * MIB))
    line = log.ended(peer)
    assert line["reason"] == "stalled"
    assert line["bytes_in"] - line["bytes_out"] <= MOVE_BYTES  # no more than one turn was held in memory
    assert served_as_ever(connect, server)


def test_last_words_that_nobody_reads_stall_an_idle_peer(serve, connect, log):
    server = serve(scripted(finish=lambda: b"x" * (12 * MIB)), idle_timeout=0.1, write_timeout=0.1)
    peer = connect(server)
    assert log.ended(peer)["reason"] == "stalled"


def test_a_reply_that_waits_to_be_read_is_not_stalled_once_the_kernel_has_it(serve, connect, log):
    server = serve(write_timeout=0.1, idle_timeout=0.3)
    peer = connect(server)
    peer.send(b"x" * 1000)
    assert log.ended(peer)["reason"] == "idle"
    assert peer.read_to_end() == b"x" * 1000


def test_a_slow_reader_that_keeps_taking_bytes_is_not_stalled(serve, connect, log):
    reply = bytes(16 * MIB)
    server = serve(scripted(feed=lambda _: reply), write_timeout=0.8, idle_timeout=0.05)
    slow = connect(server, receive_buffer=65536)
    slow.send(b"?")
    taken, begun = 0, monotonic()
    # Twice the limit, a bite at a time. What paces it is the server's own clock: each bite is taken when another
    # peer has been found idle.
    while monotonic() - begun < 1.6:
        assert connect(server).read_to_end() == b""
        slow.read(128 * 1024)
        taken += 128 * 1024
        assert log.lines("connection ended", peer=slow.name) == [], f"ended after {taken} bytes"
    slow.read(len(reply) - taken)
    slow.finish()
    slow.read_to_end()
    assert log.ended(slow)["bytes_out"] == len(reply)


def test_limits_that_are_off_end_nobody(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), idle_timeout=0, write_timeout=0)
    never_reads, silent = connect(server), connect(server)
    never_reads.send(b"?")
    assert never_reads.read(1) == b"x"
    assert silent.swap(b"") == b""
    assert [line["peer"] for line in log.wait_for("connection ended")] == [silent.name]
    assert never_reads.read(12 * MIB - 1)


@pytest.mark.parametrize("handler", ["upper", lambda data: data.upper()], ids=["inline", "queued"])
def test_whenever_the_end_comes_no_reply_is_lost(serve, background, log, handler):
    """It strikes at whatever moment of an exchange, as the janitor and the drain do."""
    server = serve(handler)

    def talk() -> tuple[str, int]:
        with Peer(server.address) as peer:
            got = 0
            try:
                while piece := (peer.send(b"x" * 100), peer.sock.recv(65536))[1]:
                    assert piece.strip(b"X") == b""
                    got += len(piece)
            except ConnectionError:
                pass
            return peer.name, got

    for reason in (CloseReason.IDLE, CloseReason.DRAINED):
        talks = [background(talk) for _ in range(8)]
        ended = 0
        while ended < len(talks):
            for connection in server.connections():
                if connection.stats.replies > ended:  # each a little later than the one before
                    ended += connection.end(reason)
        for name, got in [future.result(PATIENCE) for future in talks]:
            (line,) = log.wait_for("connection ended", peer=name)
            assert line["reason"] == reason
            assert line["bytes_in"] == line["bytes_out"] == got


def test_a_handler_that_is_stuck_is_named_and_its_peer_let_go(serve, connect, log, gate):
    server = serve(scripted(feed=lambda data: gate(data) if data == b"hang" else data), handler_timeout=0.2)
    stuck = connect(server)
    stuck.send(b"hang")
    gate.wait_entered()
    assert stuck.read_to_break() == b""
    (line,) = log.wait_for("handler stuck")
    assert (line["level"], line["id"], line["peer"]) == ("error", 1, stuck.name)
    assert line["thread"].startswith(("conn-", "worker-"))
    assert "in __call__" in line["stack"]
    assert "kit.py" in line["stack"]
    for _ in range(3):
        other = connect(server)
        assert other.swap(b"hello") == b"hello"
        log.ended(other)
    assert server.stats().active == 1  # it has its thread, and so its place, until it returns
    gate.open()
    assert log.ended(stuck)["reason"] == "killed"
    wait_until_idle(server)
    assert len(log.lines("handler stuck")) == server.stats().handlers_stuck == 1


# -- the handler ends it


class BrokenTextError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even the text of this error is broken")


def deeper() -> bytes:
    return deeper() + b"!"


def raiser(make_error: Callable[[], BaseException]) -> Callable[..., bytes]:
    def fail(*_: object) -> bytes:
        if make_error is RecursionError:
            return deeper()
        raise make_error()

    return fail


ERRORS: list[Callable[[], BaseException]] = [
    ValueError,
    lambda: SystemExit(3),
    KeyboardInterrupt,
    RecursionError,
    GeneratorExit,
    StopIteration,
    MemoryError,
    BrokenTextError,
    # What the sockets raise themselves: a handler that raises it must not be taken for one.
    lambda: ConnectionResetError(errno.ECONNRESET, "the handler's own"),
    lambda: BlockingIOError(errno.EAGAIN, "the handler's own"),
    lambda: InterruptedError(errno.EINTR, "the handler's own"),
    lambda: TimeoutError("the handler's own"),
]


def only_handler_failures(server, log, peers) -> list[BaseException]:
    """Wait for the ends of these peers; return what was logged as the cause of each, in the peers' order."""
    wait_until_idle(server)
    lines = [log.ended(peer) for peer in peers]
    assert {(line["reason"], line["level"]) for line in lines} == {("handler", "error")}
    assert server.stats().handler_errors == server.stats().closed["handler"] == len(peers)
    return [line["exc_info"] for line in lines]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("when", ["greet", "feed", "finish"])
def test_whatever_a_handler_raises_ends_its_own_connection_alone(serve, connect, log, when, blocking):
    errors = iter(ERRORS)
    server = serve(scripted(**{when: lambda *_: raiser(next(errors))()}, blocking=blocking))
    peers = []
    for _ in ERRORS:
        peers.append(peer := connect(server))
        if when == "greet":
            assert peer.read_to_end() == b""
        else:
            peer.send(b"hello")
            peer.finish()
            assert peer.read_to_end() == (b"" if when == "feed" else b"hello")
    logged = only_handler_failures(server, log, peers)
    for error, expected in zip(logged, ERRORS, strict=True):
        assert type(error) is type(expected())
        assert error.__traceback__ is not None


class ReleasedView:
    def __new__(cls) -> object:
        view = memoryview(b"gone")
        view.release()
        return view


class ExitingBytes(bytes):
    def __bytes__(self) -> bytes:
        raise SystemExit("from __bytes__")


class LyingBytes(bytes):
    def __bytes__(self) -> bytes:
        return "no bytes at all"  # type: ignore[return-value]


class Unbound:
    """As the proxies of some frameworks are, outside of a request."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("working outside of a request")


WRONG = [
    lambda: None,
    lambda: "text",
    lambda: 7,
    lambda: [1, 2],
    lambda: b"x".__len__,
    ReleasedView,
    ExitingBytes,
    LyingBytes,
    Unbound,
]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("when", ["greet", "feed", "finish"])
def test_a_reply_that_is_no_bytes_is_the_handlers_fault(serve, connect, log, when, blocking):
    wrong = iter(WRONG)
    server = serve(scripted(**{when: lambda *_: next(wrong)()}, blocking=blocking))
    peers = []
    for _ in WRONG:
        peers.append(peer := connect(server))
        if when != "greet":
            peer.send(b"hello")
            peer.finish()
        peer.read_to_end()
    assert all(only_handler_failures(server, log, peers))


class FailsFromTheSecondOn(Handler):
    """The first is made when the server is, to see whether the options are right."""

    made = 0
    error: BaseException = ValueError("cannot be made")

    def __init__(self) -> None:
        type(self).made += 1
        if type(self).made == 2:
            raise self.error

    def feed(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_constructor_that_fails(serve, connect, log, error, is_blocking):
    failing = type("Failing", (FailsFromTheSecondOn,), {"error": error, "blocking": is_blocking})
    server = serve(failing)
    peer = connect(server)
    assert peer.read_to_end() == b""
    line = log.ended(peer)
    assert (line["reason"], line["exc_info"]) == ("handler", error)
    assert served_as_ever(connect, server)


def test_a_constructor_that_makes_something_else(serve, connect, log):
    made = []

    class Shifty(scripted()):
        def __new__(cls) -> object:
            made.append(object.__new__(cls) if not made else 7)
            return made[-1]

    server = serve(Shifty)
    peer = connect(server)
    assert peer.read_to_end() == b""
    assert log.ended(peer)["reason"] == "handler"


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("name", ["greet", "feed", "finish"])
def test_an_attribute_that_raises(serve, connect, log, name, blocking):
    errors = iter(ERRORS)

    class Broken(scripted(blocking=blocking)):
        made = 0

        def __init__(self) -> None:
            Broken.made += 1

        def fail_but_for_the_first(self) -> object:
            return raiser(next(errors))() if Broken.made > 1 else getattr(super(), name)

    setattr(Broken, name, property(Broken.fail_but_for_the_first))
    server = serve(Broken)
    peers = []
    for _ in ERRORS:
        peers.append(peer := connect(server))
        if name == "finish":
            peer.finish()
        assert peer.read_to_end() == b""
    only_handler_failures(server, log, peers)


def test_a_failing_handler_leaves_the_others_alone(serve, connect):
    def only_once(data: bytes) -> bytes:
        if data == b"break":
            raise ValueError("as told")
        return data

    server = serve(scripted(feed=only_once))
    before = connect(server)
    assert before.exchange(b"hello") == b"hello"
    for _ in range(20):
        broken = connect(server)
        broken.send(b"break")
        assert broken.read_to_end() == b""
    assert before.exchange(b"hello") == b"hello"
    assert served_as_ever(connect, server)


# -- what was said still arrives


@pytest.mark.parametrize("blocking", [True, False])
def test_replies_arrive_although_the_handler_fails_on_unread_input(serve, connect, log, blocking):
    """Closing a socket with unread input makes the kernel reset it, which destroys what is on its way."""
    gate = Gate()
    calls = []

    def feed(_: bytes) -> bytes:
        calls.append(1)
        if len(calls) == 1:
            return b"r" * (2 * MIB)
        if blocking:
            gate(b"")
        raise ValueError("as told")

    server = serve(scripted(feed=feed, blocking=blocking))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"r"
    peer.send(b"?")
    if blocking:
        gate.wait_entered()
    peer.send_what_fits(b"!" * (2 * MIB))
    gate.open()
    assert peer.read_to_break() == b"r" * (2 * MIB - 1)
    line = log.ended(peer)
    assert (line["reason"], line["bytes_out"]) == ("handler", 2 * MIB)


def test_replies_arrive_although_the_peer_sends_on_while_it_is_drained(serve, connect, log, gate, background):
    def feed(data: bytes) -> bytes:
        return gate(data)[:1] * (3 * MIB) if data[:1] in b"12" else b"late"

    server = serve(scripted(feed=feed))
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"1")
    gate.wait_entered()
    peer.send(b"2")
    (connection,) = server.connections()
    wait_arrived(connection)
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert peer.read(1) == b"1"
    # Whatever is sent from here on came too late to be answered, and must not cost the replies before it.
    peer.send_what_fits(b"3" * MIB)
    got = peer.read_to_break()
    line = log.ended(peer)
    assert stop.result(PATIENCE) == []
    assert line["reason"] == "drained"
    assert 1 + len(got) == line["bytes_out"]
    assert got[: 6 * MIB - 1] == b"1" * (3 * MIB - 1) + b"2" * (3 * MIB)


def test_replies_arrive_although_the_peer_sends_on_after_the_idle_end(serve, connect, log):
    words = b"x" * (3 * MIB)
    server = serve(scripted(finish=lambda: words), idle_timeout=0.1)
    peer = connect(server)
    assert peer.read(1) == b"x"
    peer.send_what_fits(b"?" * MIB)
    assert 1 + len(peer.read_to_break()) == len(words)
    assert log.ended(peer)["reason"] == "idle"


def test_a_peer_that_never_stops_sending_to_a_failed_handler_is_let_go(serve, connect, log):
    server = serve(scripted(feed=raiser(ValueError)))
    peer = connect(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        peer.send(bytes(256 * MIB))
    assert log.ended(peer)["reason"] == "handler"


@pytest.mark.parametrize("mode", ["workers"])
def test_a_peer_that_is_seen_off_does_not_keep_the_poller_awake(serve, connect, log):
    server = serve(scripted(feed=raiser(ValueError), blocking=False))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read_to_end() == b""
    peer.send(b"unwanted" * 1000)
    assert log.ended(peer)["reason"] == "handler"
    assert server.stats().workers.inline_events <= 4


# -- the server ends it


def test_drained(serve, connect, log):
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    assert server.stop() == []
    assert peer.read_to_end() == b""
    assert log.ended(peer)["reason"] == "drained"


def test_cut(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    assert server.stop(timeout=0.1) == [f"1 {peer.name}"]
    assert log.ended(peer)["reason"] == "cut"
    assert server.stats().closed["cut"] == 1
    assert len(peer.read_to_break()) < 12 * MIB
