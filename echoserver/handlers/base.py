"""What a handler is, and how one is found by its name.

A handler sees bytes and returns bytes. It never touches a socket, so it can be tested without one, and it has one
instance per connection, so it needs no lock.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast, get_args, get_origin, get_type_hints

from echoserver.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "echoserver.handlers"
BUILT_IN = {"echo": "echoserver.handlers.echo:Echo", "upper": "echoserver.handlers.upper:Upper"}


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    address: str
    host: str
    port: int | None


class Last(bytes):
    """A reply that is the last one: the server ends the connection after it."""


Reply = bytes | Last | Iterator[bytes]


class Handler:
    """What is said to one peer. Subclass it and override `feed`; the options are keyword parameters of `__init__`.

    `feed` gets the bytes as they arrive, in whatever pieces TCP cuts them into: a handler that needs whole lines keeps
    the rest of an unfinished one in itself.
    """

    blocking: ClassVar[bool] = True
    """Whether `feed` may block, or compute for more than about a millisecond. Where it is false, the workers mode calls
    the handler from its one polling thread, which is faster and where one slow call holds everybody up."""

    peer: Peer

    def greet(self) -> Reply:
        """Return what to say before the peer has said anything."""
        return b""

    def feed(self, data: bytes) -> Reply:
        """Return the reply to these bytes, which may be empty. Whatever is raised ends this connection alone."""
        raise NotImplementedError

    def finish(self) -> Reply:
        """Return what is left to say when no more will come: the peer has half-closed, or the server is stopping."""
        return b""


def feed_unchanged(_handler: Handler, data: bytes) -> bytes:
    """Return the bytes themselves: the `feed` of a handler that does nothing to them.

    A connection recognises this very function. Then it sends the bytes back out of the memory they were received into,
    and moves bulk data without copying it, and calls no handler for either.
    """
    return data


HandlerSpec = str | type[Handler] | Callable[[bytes], bytes]
"""How a handler is named: a built-in or entry-point name, `package.module:attribute`, or in Python the thing itself."""


@dataclass(frozen=True, slots=True)
class HandlerOption:
    """One option of a handler, read off its keyword parameter."""

    name: str
    type: type[bool] | type[int] | type[float] | type[str]
    default: object
    help: str

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class HandlerFactory:
    """A handler found and its options accepted: `make()` gives each connection its own."""

    name: str
    create: Callable[[], Handler]
    blocking: bool
    unchanged: bool = False
    """Whether it is sure to return every byte as it came."""

    def make(self, peer: Peer) -> Handler:
        """Return a new handler for a peer."""
        handler = self.create()
        handler.peer = peer
        return handler


class _FunctionHandler(Handler):
    """A plain function in a handler's place."""

    def __init__(self, function: Callable[[bytes], bytes]) -> None:
        # An attribute of the instance: a call then goes straight to the function, with no method between.
        self.feed = function  # type: ignore[assignment,method-assign]


def find_handler(spec: HandlerSpec, options: Mapping[str, object]) -> HandlerFactory:
    """Return the factory of the handler that `spec` names.

    One handler is made and dropped, to see before anything is bound that it takes its options.

    Raises
    ------
    ConfigError
        There is no such handler, or it refuses its options.

    """
    target, name = _load(spec), spec if isinstance(spec, str) else _name_of(spec)
    values = _check_options(name, describe_options(target), options)
    if inspect.isclass(target):
        make = cast("Callable[..., Handler]", target)
        factory = HandlerFactory(name, lambda: make(**values), bool(getattr(target, "blocking", True)))
    else:
        function = target
        bound = (lambda data: function(data, **values)) if values else function
        factory = HandlerFactory(name, lambda: _FunctionHandler(bound), blocking=True)
    try:
        made = factory.create()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(f"handler {name} refuses its options: {_one_line(error)}", key="handler_options") from error
    if inspect.isclass(target):
        _check_feed(name, made.feed, {})
    else:
        _check_feed(name, target, values)
    unchanged = type(made).feed is feed_unchanged and "feed" not in vars(made)
    return replace(factory, unchanged=unchanged)


def available_handlers() -> Iterator[tuple[str, Callable[..., object] | ConfigError]]:
    """Yield each built-in and installed handler's name with the handler, or with the reason why it can't be loaded."""
    for name in sorted({*BUILT_IN, *_installed()}):
        try:
            yield name, _load(name)
        except ConfigError as error:
            yield name, error


def describe_options(target: Callable[..., object]) -> list[HandlerOption]:
    """Return the options of a handler: its keyword parameters, with the text of an `Annotated` type as their help."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # written in C, without a signature
        return []
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (TypeError, NameError, AttributeError):  # not a function, or names that are imported for type checkers alone
        hints = {}
    if not inspect.isclass(target):
        parameters = parameters[1:]  # the bytes
    options = []
    for parameter in parameters:
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            continue
        hint: Any = hints.get(parameter.name, type(parameter.default))
        text = ""
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            text = next((note for note in notes if isinstance(note, str)), "")
        # `int | None` takes whole numbers.
        kind = next((kind for kind in (hint, *get_args(hint)) if kind in (bool, int, float, str)), str)
        options.append(HandlerOption(parameter.name, kind, parameter.default, text))
    return options


def _load(spec: HandlerSpec) -> Callable[..., Any]:
    if not isinstance(spec, str):
        target: object = spec
    elif spec in BUILT_IN:
        target = _import(BUILT_IN[spec])
    elif ":" in spec:
        target = _import(spec)
    else:
        target = _load_entry_point(spec)
    if inspect.isclass(target):
        if not issubclass(target, Handler):
            raise ConfigError(f"{spec}: the class {target.__name__} does not derive from Handler", key="handler")
        return target
    if not callable(target):
        raise ConfigError(f"{spec} is of type {type(target).__name__}; must be a class or a function", key="handler")
    return target


def _installed() -> dict[str, EntryPoint]:
    """Return the handlers that installed packages bring, by name."""
    # Half of what the whole command takes to start: loaded for a name that is not built in, and for the list of all.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load_entry_point(name: str) -> object:
    points = _installed()
    if name not in points:
        known = ", ".join(sorted({*BUILT_IN, *points}))
        raise ConfigError(f"no handler {name!r}: there are {known}; or give package.module:attribute", key="handler")
    return _import(f"{points[name].module}:{points[name].attr}")


def _import(path: str) -> object:
    module_name, _, attribute = path.partition(":")
    try:
        target: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(f"can't load {path}: {_one_line(error)}", key="handler") from error
    return target


def _check_options(name: str, known: list[HandlerOption], given: Mapping[str, object]) -> dict[str, object]:
    by_name = {option.name: option for option in known}
    values = {}
    for key, value in given.items():
        if key not in by_name:
            takes = ", ".join(by_name) or "no options"
            raise ConfigError(f"handler {name} has no option {key!r}: it takes {takes}", key="handler_options")
        values[key] = _convert(key, by_name[key].type, value)
    for option in known:
        if option.required and option.name not in given:
            raise ConfigError(f"handler {name} needs its option {option.name!r}", key="handler_options")
    return values


def _check_feed(name: str, feed: Callable[..., object], values: Mapping[str, object]) -> None:
    """Refuse what would fail at the first byte of every connection."""
    if getattr(feed, "__func__", None) is Handler.feed:
        raise ConfigError(f"handler {name} does not override feed()", key="handler")
    if inspect.iscoroutinefunction(feed):
        raise ConfigError(f"handler {name} is asynchronous; it must return bytes, not a coroutine", key="handler")
    try:
        inspect.signature(feed).bind(b"", **values)
    except ValueError:  # written in C, without a signature
        pass
    except TypeError as error:
        raise ConfigError(f"handler {name} can't be called with bytes: {error}", key="handler") from None


def _convert(key: str, kind: type, value: object) -> object:
    """Return a TOML value as it is, if it fits; a text, from a flag or the environment, as the option's type."""
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind is float and type(value) is int:
        return float(value)
    if kind in (int, float) and isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            pass
    elif type(value) is kind:
        return value
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
    raise ConfigError(f"{key} = {value!r}: must be {wanted}", key="handler_options")


def _name_of(target: object) -> str:
    return str(getattr(target, "__name__", type(target).__name__))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
