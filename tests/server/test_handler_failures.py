"""Whatever a handler does wrong ends its own connection, with the error in the log, and no other."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from echoserver import Handler
from server.kit import scripted, serves_on, wait_until_idle


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
    # Errors that sockets raise: from a handler they must not be taken for the socket's.
    lambda: ConnectionResetError(errno.ECONNRESET, "the handler's own"),
    lambda: BlockingIOError(errno.EAGAIN, "the handler's own"),
    lambda: InterruptedError(errno.EINTR, "the handler's own"),
    lambda: TimeoutError("the handler's own"),
]


def logged_failures(server, log, peers) -> list[BaseException]:
    """Wait until these peers' connections have ended; return the error logged for each, in the order of the peers."""
    wait_until_idle(server)
    lines = [log.ended(peer) for peer in peers]
    assert {(line["reason"], line["level"]) for line in lines} == {("handler", "error")}
    assert server.stats().handler_errors == server.stats().closed["handler"] == len(peers)
    return [line["exc_info"] for line in lines]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("when", ["greet", "feed", "finish"])
def test_whatever_a_handler_raises_ends_only_its_own_connection(serve, connect, log, when, blocking):
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
    logged = logged_failures(server, log, peers)
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
        return "not bytes at all"  # type: ignore[return-value]


class Unbound:
    """Like the proxies of some frameworks outside of a request."""

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
def test_a_reply_that_is_not_bytes_is_a_handler_error(serve, connect, log, when, blocking):
    wrong = iter(WRONG)
    server = serve(scripted(**{when: lambda *_: next(wrong)()}, blocking=blocking))
    peers = []
    for _ in WRONG:
        peers.append(peer := connect(server))
        if when != "greet":
            peer.send(b"hello")
            peer.finish()
        peer.read_to_end()
    assert all(logged_failures(server, log, peers))


class FailsFromTheSecondOn(Handler):
    """The server makes the first one itself, to check the options."""

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
    assert serves_on(connect, server)


def test_a_constructor_that_returns_something_else(serve, connect, log):
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

        def fail_except_in_the_first(self) -> object:
            return raiser(next(errors))() if Broken.made > 1 else getattr(super(), name)

    setattr(Broken, name, property(Broken.fail_except_in_the_first))
    server = serve(Broken)
    peers = []
    for _ in ERRORS:
        peers.append(peer := connect(server))
        if name == "finish":
            peer.finish()
        assert peer.read_to_end() == b""
    logged_failures(server, log, peers)


def test_a_failing_handler_does_not_affect_other_connections(serve, connect):
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
    assert serves_on(connect, server)
