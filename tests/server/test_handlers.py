"""Handlers without a socket: what the built-in ones reply, and what a handler may return and know of its peer."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.handlers import Handler, Last, Peer, find_handler
from server.handler_kit import PEER, make, refusal, say

pieces = st.lists(st.binary(max_size=20))


# -- the built-in handlers


@given(pieces)
def test_echo_says_what_it_heard(heard):
    assert say(make("echo"), *heard) == b"".join(heard)


def test_echo_copies_nothing():
    data = bytes(100)
    assert make("echo").feed(data) is data


@given(pieces)
def test_upper_changes_ascii_letters_alone(heard):
    expected = bytes(byte - 32 if 97 <= byte <= 122 else byte for byte in b"".join(heard))
    assert say(make("upper"), *heard) == expected


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return the data in pieces, as TCP might deliver it."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@given(st.text(), st.lists(st.integers(0)))
def test_upper_in_utf_8_changes_every_letter_wherever_it_is_cut(text, places):
    handler = make("upper", encoding="utf-8")
    assert say(handler, *cut(text.encode(), places)) == text.upper().encode()


@given(st.binary(), st.lists(st.integers(0)))
def test_upper_in_utf_8_keeps_what_is_not_utf_8(data, places):
    # ASCII letters aside, bytes that are no text come back as they are, and no byte is lost or kept.
    expected = data.decode("utf-8", "surrogateescape").upper().encode("utf-8", "surrogateescape")
    assert say(make("upper", encoding="utf-8"), *cut(data, places)) == expected


def test_upper_in_utf_8_keeps_half_a_character_until_the_rest_comes():
    handler = make("upper", encoding="utf-8")
    assert handler.feed("é".encode()[:1]) == b""
    assert handler.feed("é".encode()[1:]) == "É".encode()
    assert handler.feed(b"\xc3") == b""
    assert handler.finish() == b"\xc3"


def test_two_peers_of_upper_share_nothing():
    factory = find_handler("upper", {"encoding": "utf-8"})
    one, other = factory.make(PEER), factory.make(PEER)
    one.feed(b"\xc3")
    assert other.feed(b"\xa9") == b"\xa9"


@pytest.mark.parametrize("name", ["echo", "upper"])
def test_the_built_in_handlers_never_block(name):
    assert not find_handler(name, {}).blocking


# -- what a handler may return


def test_a_last_reply_is_bytes():
    assert Last(b"bye") == b"bye"
    assert isinstance(Last(b"bye"), bytes)
    assert type(Last(b"bye")) is not bytes, "the server tells them apart by their type"
    assert Last() == b""


class Countdown(Handler):
    def feed(self, data: bytes) -> Iterator[bytes]:
        for number in range(int(data), 0, -1):
            yield b"%d " % number
        yield Last(b"lift-off")


def countdown(data: bytes) -> Iterator[bytes]:
    yield from Countdown().feed(data)


@pytest.mark.parametrize("spec", [Countdown, countdown])
def test_a_generator_is_a_handler(spec):
    replies = list(make(spec).feed(b"2"))
    assert replies == [b"2 ", b"1 ", b"lift-off"]
    assert type(replies[-1]) is Last


# -- the peer


class Polite(Handler):
    def greet(self) -> bytes:
        return b"hello, " + self.peer.address.encode()

    def feed(self, data: bytes) -> bytes:
        return data


def test_a_handler_knows_its_peer_before_it_greets():
    assert make(Polite).greet() == b"hello, 127.0.0.1:5000"


@pytest.mark.parametrize("spec", ["echo", "upper", countdown])
def test_every_kind_of_handler_gets_its_peer(spec):
    assert make(spec).peer is PEER


def test_each_handler_has_its_own_peer():
    factory = find_handler(Polite, {})
    other = Peer("::1", 7)
    assert [factory.make(peer).peer for peer in (PEER, other)] == [PEER, other]


def test_a_peer_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PEER.host = "::1"


@dataclasses.dataclass(frozen=True)
class Frozen(Handler):
    def feed(self, data: bytes) -> bytes:
        return data


class Slotted(Handler):
    __slots__ = ("rest",)

    def feed(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize("spec", [Frozen, Slotted])
def test_a_handler_that_refuses_attributes_gets_its_peer(spec):
    assert make(spec).peer is PEER


class TooEarly(Polite):
    def __init__(self) -> None:
        self.name = self.peer.address


def test_the_peer_is_not_there_yet_when_the_handler_is_made():
    assert "handler TooEarly refuses its options: AttributeError: " in str(refusal(TooEarly))


class ReadOnly(Polite):
    @property
    def peer(self) -> Peer:
        return PEER


def test_a_handler_that_keeps_its_peer_from_being_set_is_refused():
    problem = "handler ReadOnly defines a read-only `peer`; must leave this name to the server, which sets it"
    assert str(refusal(ReadOnly)) == f"handler: {problem}"
