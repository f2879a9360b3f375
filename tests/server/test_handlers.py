"""Handlers without a socket: what the built-in ones say, how others are found, and which are refused at the door."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver import Handler
from echoserver.errors import ConfigError
from echoserver.handlers.base import HandlerOption, available_handlers, describe_options, find_handler

if TYPE_CHECKING:
    from collections.abc import Buffer


def say(handler: Handler, *pieces: bytes) -> bytes:
    """Return all that a handler says to a peer who sends these pieces and then half-closes."""
    return b"".join([handler.greet(), *map(handler.feed, pieces), handler.finish()])


def make(spec, **options) -> Handler:
    return find_handler(spec, options).make()


def refusal(spec, **options) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        find_handler(spec, options)
    assert str(refused.value).isprintable()
    return refused.value


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
def test_upper_in_utf_8_keeps_what_is_no_utf_8(data, places):
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
    one, other = factory.make(), factory.make()
    one.feed(b"\xc3")
    assert other.feed(b"\xa9") == b"\xa9"


@pytest.mark.parametrize("name", ["echo", "upper"])
def test_the_built_in_handlers_never_block(name):
    assert not find_handler(name, {}).blocking


# -- handlers of others, by attribute


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

    class Inner(Handler):
        def feed(self, data: bytes) -> bytes:
            return data[::-1]


def double(data: bytes) -> bytes:
    return data * 2


def times(data: bytes, *, count: Annotated[int, "how often"], loud: bool = False) -> bytes:
    return (data.upper() if loud else data) * count


class Callable:
    def __call__(self, data: bytes) -> bytes:
        return data


callable_object = Callable()


@pytest.fixture(autouse=True)
def this_module_by_name(monkeypatch):
    # pytest's import mode gives this module no name that can be imported.
    monkeypatch.setitem(sys.modules, "handlers_under_test", sys.modules[__name__])


def test_a_class_is_found_by_module_and_attribute():
    factory = find_handler("handlers_under_test:Counter", {})
    assert (factory.name, factory.blocking) == ("handlers_under_test:Counter", False)
    assert say(factory.make(), b"ab", b"c") == b"hello 3"


def test_an_attribute_of_an_attribute_is_found():
    assert say(make("handlers_under_test:Counter.Inner"), b"abc") == b"cba"


def test_a_function_is_found_by_module_and_attribute():
    factory = find_handler("handlers_under_test:double", {})
    assert factory.blocking, "of a function nothing is known"
    assert say(factory.make(), b"ab", b"c") == b"ababcc"


@pytest.mark.parametrize("spec", ["builtins:bytes.upper", "handlers_under_test:callable_object"])
def test_whatever_takes_bytes_can_be_called(spec):
    assert make(spec).feed(b"ABC") == b"ABC"


@pytest.mark.parametrize(("spec", "name"), [(Counter, "Counter"), (double, "double"), (callable_object, "Callable")])
def test_in_python_the_thing_itself_is_given(spec, name):
    assert find_handler(spec, {}).name == name


def test_each_peer_gets_its_own():
    factory = find_handler(Counter, {})
    assert factory.make() is not factory.make()


# -- options


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


def test_open_parameters_are_no_options():
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
        ("upper", {"encoding": 8}, "encoding = 8: must be a text"),
        (
            "upper",
            {"encoding": "latin"},
            "handler upper refuses its options: ValueError: encoding = 'latin': must be ascii or utf-8",
        ),
        (times, {}, "handler times needs its option 'count'"),
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


# -- refusals


class NoFeed(Handler):
    pass


class Fussy(Handler):
    def __init__(self) -> None:
        raise SystemExit("not\ntoday")


class Asynchronous(Handler):
    async def feed(self, data: bytes) -> bytes:  # type: ignore[override]
        return data


async def asynchronous(data: bytes) -> bytes:
    return data


def takes_nothing() -> bytes:
    return b""


number = 7


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("nix", "no handler 'nix': there are echo, upper; or give package.module:attribute"),
        ("no_such_module:x", "can't load no_such_module:x: ModuleNotFoundError: No module named 'no_such_module'"),
        (":x", "can't load :x: ValueError: Empty module name"),
        ("handlers_under_test:", "can't load handlers_under_test:: AttributeError: "),
        ("handlers_under_test:x.y", "can't load handlers_under_test:x.y: AttributeError: "),
        ("handlers_under_test:number", "handlers_under_test:number is of type int; must be a class or a function"),
        ("builtins:bytes", "builtins:bytes: the class bytes does not derive from Handler"),
        (NoFeed, "handler NoFeed does not override feed()"),
        (Asynchronous, "handler Asynchronous is asynchronous; it must return bytes, not a coroutine"),
        (asynchronous, "handler asynchronous is asynchronous; it must return bytes, not a coroutine"),
        (takes_nothing, "handler takes_nothing can't be called with bytes: too many positional arguments"),
    ],
)
def test_what_is_no_handler_is_refused(spec, problem):
    refused = refusal(spec)
    assert str(refused).startswith(f"handler: {problem}")
    assert refused.key == "handler"


def test_a_handler_that_exits_at_once_is_refused():
    assert str(refusal(Fussy)) == "handler_options: handler Fussy refuses its options: SystemExit: not today"


@pytest.mark.parametrize("failure", ["raise SystemExit(3)", "1 / 0", "import no_such_module", "class"])
def test_a_module_that_fails_is_refused(failure, tmp_path, monkeypatch):
    (tmp_path / "broken_handlers.py").write_text(failure)
    monkeypatch.syspath_prepend(tmp_path)
    assert str(refusal("broken_handlers:x")).startswith("handler: can't load broken_handlers:x: ")
    sys.modules.pop("broken_handlers", None)


def test_an_interrupt_while_loading_is_nobodys_mistake(tmp_path, monkeypatch):
    (tmp_path / "slow_handlers.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        find_handler("slow_handlers:x", {})


# -- entry points


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put a distribution with handlers on the path, as pip would: `installed(name=target)`."""

    def install(**points: str) -> None:
        (tmp_path / "plug_in.py").write_text(
            "from echoserver import Handler\n"
            "class Shout(Handler):\n"
            "    '''Shout.\n\n    Loudly.'''\n"
            "    def __init__(self, *, marks: int = 1) -> None:\n"
            "        self.marks = marks\n"
            "    def feed(self, data: bytes) -> bytes:\n"
            "        return data.upper() + b'!' * self.marks\n"
        )
        info = tmp_path / "plug_in-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[echoserver.handlers]", *lines, ""]))
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("plug_in", None)


def test_an_installed_handler_is_found_by_its_name(installed):
    installed(shout="plug_in:Shout")
    factory = find_handler("shout", {"marks": "3"})
    assert factory.name == "shout"
    assert say(factory.make(), b"hey") == b"HEY!!!"


def test_an_entry_point_may_name_extras(installed):
    installed(shout="plug_in:Shout [loud]")
    assert say(make("shout"), b"hey") == b"HEY!"


def test_an_installed_handler_cannot_take_the_place_of_a_built_in_one(installed):
    installed(echo="plug_in:Shout")
    assert say(make("echo"), b"hey") == b"hey"


def test_an_installed_handler_that_is_broken_is_refused(installed):
    installed(shout="plug_in:Whisper")
    assert str(refusal("shout")).startswith("handler: can't load plug_in:Whisper: AttributeError: ")


def test_the_list_has_all_and_says_which_are_broken(installed):
    installed(shout="plug_in:Shout", broken="plug_in:Whisper")
    found = dict(available_handlers())
    assert list(found) == ["broken", "echo", "shout", "upper"]
    assert isinstance(found.pop("broken"), ConfigError)
    assert [target.__name__ for target in found.values()] == ["Echo", "Shout", "Upper"]


def test_the_refusal_of_an_unknown_name_lists_the_installed_ones(installed):
    installed(shout="plug_in:Shout")
    assert "there are echo, shout, upper;" in str(refusal("shuot"))
