"""How a handler is found by its name, and which handlers are refused at start-up."""

from __future__ import annotations

import sys

import pytest

from echoserver import Handler
from echoserver.errors import ConfigError
from echoserver.handlers import find_handler
from echoserver.handlers.finding import available_handlers
from server.handler_kit import BUILT_IN_NAMES, PEER, make, refusal, say

# -- by module and attribute


class Counter(Handler):
    """Answer with a number."""

    blocking = False

    def __init__(self) -> None:
        self.count = 0

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
    assert say(factory.make(PEER), b"ab", b"c") == b"hello 3"


def test_an_attribute_of_an_attribute_is_found():
    assert say(make("handlers_under_test:Counter.Inner"), b"abc") == b"cba"


def test_a_function_is_found_by_module_and_attribute():
    factory = find_handler("handlers_under_test:double", {})
    assert factory.blocking, "of a function nothing is known"
    assert say(factory.make(PEER), b"ab", b"c") == b"ababcc"


@pytest.mark.parametrize("spec", ["builtins:bytes.upper", "handlers_under_test:callable_object"])
def test_whatever_takes_bytes_can_be_called(spec):
    assert make(spec).feed(b"ABC") == b"ABC"


@pytest.mark.parametrize(("spec", "name"), [(Counter, "Counter"), (double, "double"), (callable_object, "Callable")])
def test_in_python_the_thing_itself_is_given(spec, name):
    assert find_handler(spec, {}).name == name


def test_each_peer_gets_its_own():
    factory = find_handler(Counter, {})
    assert factory.make(PEER) is not factory.make(PEER)


# -- refusals


class NoFeed(Handler):
    pass


class Fussy(Handler):
    def __init__(self) -> None:
        raise SystemExit("not\ntoday \a\x9b2J")


class Asynchronous(Handler):
    async def feed(self, data: bytes) -> bytes:  # type: ignore[override]
        return data


class AsynchronousGreeting(Handler):
    async def greet(self) -> bytes:  # type: ignore[override]
        return b""

    def feed(self, data: bytes) -> bytes:
        return data


class AsynchronousGenerator(Handler):
    async def feed(self, data: bytes):  # type: ignore[override]
        yield data


async def asynchronous(data: bytes) -> bytes:
    return data


async def asynchronous_generator(data: bytes):
    yield data


class AsynchronousCall:
    async def __call__(self, data: bytes) -> bytes:
        return data


def takes_nothing() -> bytes:
    return b""


number = 7
COROUTINE = "is a coroutine function; must return bytes, not a coroutine"
GENERATOR = "is an asynchronous generator; must be a plain function or generator"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            "nix",
            "no handler 'nix': there are " + BUILT_IN_NAMES + "; or give package.module:attribute",
        ),
        ("no_such_module:x", "can't load no_such_module:x: ModuleNotFoundError: No module named 'no_such_module'"),
        (":x", "can't load :x: ValueError: Empty module name"),
        ("handlers_under_test:", "can't load handlers_under_test:: AttributeError: "),
        ("handlers_under_test:x.y", "can't load handlers_under_test:x.y: AttributeError: "),
        ("handlers_under_test:number", "handlers_under_test:number is of type int; must be a class or a function"),
        ("builtins:bytes", "builtins:bytes: the class bytes does not derive from Handler"),
        (NoFeed, "handler NoFeed does not override feed()"),
        (Asynchronous, f"handler Asynchronous: feed() {COROUTINE}"),
        (AsynchronousGreeting, f"handler AsynchronousGreeting: greet() {COROUTINE}"),
        (asynchronous, f"handler asynchronous {COROUTINE}"),
        (AsynchronousCall(), f"handler AsynchronousCall {COROUTINE}"),
        (AsynchronousGenerator, f"handler AsynchronousGenerator: feed() {GENERATOR}"),
        (asynchronous_generator, f"handler asynchronous_generator {GENERATOR}"),
        (takes_nothing, "handler takes_nothing can't be called with bytes: too many positional arguments"),
    ],
)
def test_what_is_not_a_handler_is_refused(spec, problem):
    refused = refusal(spec)
    assert str(refused).startswith(f"handler: {problem}")
    assert refused.key == "handler"


def test_a_handler_that_exits_at_once_is_refused():
    assert str(refusal(Fussy)) == (
        r"handler_options: handler Fussy refuses its options: SystemExit: not today \x07\x9b2J"
    )


@pytest.mark.parametrize("failure", ["raise SystemExit(3)", "1 / 0", "import no_such_module", "class"])
def test_a_module_that_fails_is_refused(failure, tmp_path, monkeypatch):
    (tmp_path / "broken_handlers.py").write_text(failure)
    monkeypatch.syspath_prepend(tmp_path)
    assert str(refusal("broken_handlers:x")).startswith("handler: can't load broken_handlers:x: ")
    sys.modules.pop("broken_handlers", None)


def test_an_interrupt_while_loading_is_not_a_mistake_of_the_handler(tmp_path, monkeypatch):
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
    assert say(factory.make(PEER), b"hey") == b"HEY!!!"


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
    assert list(found) == sorted(["broken", "shout", *BUILT_IN_NAMES.split(", ")])
    assert isinstance(found.pop("broken"), ConfigError)
    assert [target.__name__ for target in found.values()] == [name.capitalize() for name in found]


def test_the_refusal_of_an_unknown_name_lists_the_installed_ones(installed):
    installed(shout="plug_in:Shout")
    assert "there are " + BUILT_IN_NAMES.replace("upper", "shout, upper") + ";" in str(refusal("shuot"))
