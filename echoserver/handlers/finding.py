"""How a handler is found by its name, and how each connection gets its own.

A mistake that would fail on every connection is refused here, before the server binds anything.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from echoserver.errors import ConfigError
from echoserver.handlers.handler import Handler, Reply, feed_unchanged
from echoserver.handlers.options import check_options, describe_options
from echoserver.handlers.peer import Peer

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "echoserver.handlers"
BUILT_IN = {
    name: f"echoserver.handlers.{name}:{name.capitalize()}"
    for name in ("chargen", "daytime", "discard", "echo", "frames", "info", "lines", "upper")
}

HandlerSpec: TypeAlias = str | type[Handler] | Callable[..., Reply]
"""A handler: a built-in or entry-point name, `package.module:attribute`, or in Python the class or function itself."""


@dataclass(frozen=True, slots=True)
class HandlerFactory:
    """Makes a handler for each connection. The options have been checked."""

    name: str
    make: Callable[[Peer], Handler]
    """Makes the handler of one connection and sets its `peer`."""
    blocking: bool
    unchanged: bool = False
    """Whether the handler certainly returns every byte as it came."""


class _FunctionHandler(Handler):
    """Makes a handler of a plain function."""

    def __init__(self, function: Callable[[bytes], Reply]) -> None:
        # An instance attribute, so that a call goes straight to the function instead of through a method.
        self.feed = function  # type: ignore[assignment,method-assign]


def find_handler(spec: HandlerSpec, options: Mapping[str, object], *, anew: bool = False) -> HandlerFactory:
    """Return the factory of the handler that `spec` names.

    One handler is made and dropped, to find out before anything is bound whether it accepts its options.

    Parameters
    ----------
    spec:
        The handler, or how it is named.
    options:
        The values of its options, by name.
    anew:
        Whether to load the module of the handler again, which may have changed. Handlers that are in use keep the code
        that they have.

    Raises
    ------
    ConfigError
        There is no such handler, or it refuses its options.

    """
    target, name = _load(spec, anew=anew), spec if isinstance(spec, str) else _name_of(spec)
    values = check_options(name, describe_options(target), options)
    construct = _constructor(target, values)
    try:
        probe = construct()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(f"handler {name} refuses its options: {_one_line(error)}", key="handler_options") from error
    if inspect.isclass(target):
        _check_class(name, probe)
    else:
        _check_synchronous(name, target)
        _check_takes_bytes(name, target, values)

    def make(peer: Peer) -> Handler:
        handler = construct()
        _set_peer(handler, peer)
        return handler

    return HandlerFactory(
        name,
        make,
        blocking=bool(probe.blocking),
        unchanged=type(probe).feed is feed_unchanged and "feed" not in vars(probe),
    )


def available_handlers() -> Iterator[tuple[str, Callable[..., object] | ConfigError]]:
    """Yield the name of each built-in and installed handler with the handler, or with the reason it can't be loaded."""
    for name in sorted({*BUILT_IN, *_installed()}):
        try:
            yield name, _load(name)
        except ConfigError as error:
            yield name, error


def _constructor(target: Callable[..., object], values: Mapping[str, object]) -> Callable[[], Handler]:
    if inspect.isclass(target):
        of_class = cast("type[Handler]", target)
        return lambda: of_class(**values)
    function = cast("Callable[..., Reply]", target)
    if not values:
        return lambda: _FunctionHandler(function)
    return lambda: _FunctionHandler(lambda data: function(data, **values))


def _set_peer(handler: Handler, peer: Peer) -> None:
    # Not `handler.peer = peer`: a handler may refuse assignments, as a frozen dataclass does.
    object.__setattr__(handler, "peer", peer)


def _load(spec: HandlerSpec, *, anew: bool = False) -> Callable[..., object]:
    if not isinstance(spec, str):
        target: object = spec
    elif spec in BUILT_IN:
        target = _import(BUILT_IN[spec])
    elif ":" in spec:
        target = _import(spec, anew=anew)
    else:
        target = _load_entry_point(spec, anew=anew)
    if inspect.isclass(target):
        if not issubclass(target, Handler):
            raise ConfigError(f"{spec}: the class {target.__name__} does not derive from Handler", key="handler")
        return target
    if not callable(target):
        raise ConfigError(f"{spec} is of type {type(target).__name__}; must be a class or a function", key="handler")
    return target


def _installed() -> dict[str, EntryPoint]:
    """Return the handlers of the installed packages, by name."""
    # Importing this takes half the start-up time of the whole command, so it waits until a name that isn't built in, or
    # the list of all handlers, needs it.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load_entry_point(name: str, *, anew: bool) -> object:
    points = _installed()
    if name not in points:
        known = ", ".join(sorted({*BUILT_IN, *points}))
        raise ConfigError(f"no handler {name!r}: there are {known}; or give package.module:attribute", key="handler")
    return _import(f"{points[name].module}:{points[name].attr}", anew=anew)


def _import(path: str, *, anew: bool = False) -> object:
    module_name, _, attribute = path.partition(":")
    # Not `importlib.reload`, which would change the code of the handlers that are in use.
    before = sys.modules.pop(module_name, None) if anew else None
    if anew:
        importlib.invalidate_caches()
    try:
        target: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except BaseException as error:
        if before is not None:
            sys.modules[module_name] = before
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(f"can't load {path}: {_one_line(error)}", key="handler") from error
    return target


def _check_class(name: str, probe: Handler) -> None:
    """Refuse a class whose every instance would fail."""
    if getattr(probe.feed, "__func__", None) is Handler.feed:
        raise ConfigError(f"handler {name} does not override feed()", key="handler")
    for method, function in (("greet", probe.greet), ("feed", probe.feed), ("finish", probe.finish)):
        _check_synchronous(f"{name}: {method}()", function)
    _check_takes_bytes(name, probe.feed, {})
    try:
        _set_peer(probe, Peer("", None))
    except AttributeError:
        problem = f"handler {name} defines a read-only `peer`; must leave this name to the server, which sets it"
        raise ConfigError(problem, key="handler") from None


def _check_synchronous(name: str, function: Callable[..., object]) -> None:
    for called in (function, type(function).__call__):  # the latter for an instance that can be called
        if inspect.iscoroutinefunction(called):
            raise ConfigError(
                f"handler {name} is a coroutine function; must return bytes, not a coroutine", key="handler"
            )
        if inspect.isasyncgenfunction(called):
            problem = f"handler {name} is an asynchronous generator; must be a plain function or generator"
            raise ConfigError(problem, key="handler")


def _check_takes_bytes(name: str, function: Callable[..., object], values: Mapping[str, object]) -> None:
    try:
        inspect.signature(function).bind(b"", **values)
    except ValueError:  # implemented in C, without a signature
        pass
    except TypeError as error:
        raise ConfigError(f"handler {name} can't be called with bytes: {error}", key="handler") from None


def _name_of(target: object) -> str:
    return str(getattr(target, "__name__", type(target).__name__))


def _one_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - it is a plug-in's own, and may fail at anything
        text = "(its text can't be shown)"
    return " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")
