"""The options of a handler: read from its parameters, converted, and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pytest

from echoserver import Handler
from echoserver.handlers.options import HandlerOption, describe_options
from server.handler_kit import make, refusal, say

if TYPE_CHECKING:
    from collections.abc import Buffer


class Counter(Handler):
    """Answer with a number."""

    blocking = False

    def __init__(self, *, start: int = 0, step: Annotated[float, "how far to count each time"] = 1.0) -> None:
        self.count = start * step

    def greet(self) -> bytes:
        return b"hello "

    def feed(self, data: bytes) -> bytes:
        self.count += len(data)
        return b""

    def finish(self) -> bytes:
        return b"%d" % self.count


def times(data: bytes, *, count: Annotated[int, "how often"], loud: bool = False) -> bytes:
    return (data.upper() if loud else data) * count


def test_options_are_read_off_the_parameters():
    assert describe_options(Counter) == [
        HandlerOption("start", int, 0, ""),
        HandlerOption("step", float, 1.0, "how far to count each time"),
    ]
    count, loud = describe_options(times)
    assert (count.name, count.type, count.help, count.required) == ("count", int, "how often", True)
    assert (loud.name, loud.type, loud.default, loud.required) == ("loud", bool, False, False)


def test_options_without_types_go_by_their_defaults():
    def untyped(data, number=1, flag=True, text="", nothing=None):
        raise NotImplementedError

    assert [option.type for option in describe_options(untyped)] == [int, bool, str, str]


def test_an_optional_type_is_its_own_kind():
    def optional(data: bytes, number: int | None = None, *, flag: Annotated[bool | None, "help"] = None) -> bytes:
        raise NotImplementedError

    assert [(option.type, option.help) for option in describe_options(optional)] == [(int, ""), (bool, "help")]


def test_types_that_only_a_type_checker_has_hide_no_option():
    def checked(data: Buffer, *, number: int = 1) -> Buffer:
        raise NotImplementedError

    assert describe_options(checked) == [HandlerOption("number", int, 1, "")]


def test_open_parameters_are_not_options():
    def open_ended(data: bytes, *more: bytes, **others: str) -> bytes:
        raise NotImplementedError

    assert describe_options(open_ended) == []


@pytest.mark.parametrize(
    ("options", "reply"),
    [
        ({"count": 3}, b"ababab"),
        ({"count": "3"}, b"ababab"),
        ({"count": 1, "loud": True}, b"AB"),
        ({"count": 1, "loud": "TRUE"}, b"AB"),
        ({"count": 1, "loud": "false"}, b"ab"),
    ],
)
def test_options_reach_a_function_as_what_it_declared(options, reply):
    assert make(times, **options).feed(b"ab") == reply


def test_options_reach_a_class_as_what_it_declared():
    assert say(make(Counter, start="7", step=2), b"") == b"hello 14"
    assert say(make(Counter, start=2, step="0.5"), b"") == b"hello 1"


@pytest.mark.parametrize(
    ("spec", "options", "problem"),
    [
        ("echo", {"loud": "true"}, "handler echo has no option 'loud': it takes no options"),
        ("upper", {"encodign": "utf-8"}, "handler upper has no option 'encodign': it takes encoding"),
        ("upper", {"encoding": 8}, "encoding = 8: must be a string"),
        (
            "upper",
            {"encoding": "latin"},
            "handler upper refuses its options: ValueError: encoding = 'latin': must be ascii or utf-8",
        ),
        (times, {}, "handler times needs the option 'count'"),
        (times, {"count": "x"}, "count = 'x': must be a whole number"),
        (times, {"count": 1.0}, "count = 1.0: must be a whole number"),
        (times, {"count": True}, "count = True: must be a whole number"),
        (times, {"count": 1, "loud": 1}, "loud = 1: must be true or false"),
        (times, {"count": 1, "loud": "yes"}, "loud = 'yes': must be true or false"),
        (Counter, {"step": "far"}, "step = 'far': must be a number"),
    ],
)
def test_wrong_options_are_refused(spec, options, problem):
    refused = refusal(spec, **options)
    assert (str(refused), refused.key) == (f"handler_options: {problem}", "handler_options")
