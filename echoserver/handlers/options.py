"""The options of a handler: its keyword parameters, and the values given for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, get_args, get_origin, get_type_hints

from echoserver.errors import ConfigError
from echoserver.sizes import format_size, parse_size

_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_METAVARS = {bool: "true|false", int: "N", float: "NUMBER", str: "TEXT"}


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a whole number, both allowed, as they stand in a type: `Annotated[int, Between(1, 9)]`."""

    low: int
    high: int

    metavar: ClassVar[str] = _METAVARS[int]

    @property
    def wanted(self) -> str:
        """What completes the sentence "must be ..."."""
        return f"a whole number from {self.low} to {self.high}"

    def read(self, text: str) -> int:
        """Return the number that a text stands for, or raise `ValueError`."""
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
            raise ValueError(text)
        return int(text)

    def show(self, value: object) -> str:
        """Return a value as it is written."""
        return str(value)


@dataclass(frozen=True, slots=True)
class BytesBetween(Between):
    """Bounds of a number of bytes, which is written with a unit, as in `64KiB`; a number is one of bytes."""

    metavar: ClassVar[str] = "SIZE"

    @property
    def wanted(self) -> str:
        """What completes the sentence "must be ..."."""
        return f"a size such as 64KiB or 16MiB, from {format_size(self.low)} to {format_size(self.high)}"

    def read(self, text: str) -> int:
        """Return the number of bytes that a text stands for, or raise `ValueError`."""
        return parse_size(text)

    def show(self, value: object) -> str:
        """Return a value as it is written."""
        return format_size(value) if isinstance(value, int) else str(value)


@dataclass(frozen=True, slots=True)
class HandlerOption:
    """One option of a handler, as its keyword parameter declares it."""

    name: str
    type: type[bool] | type[int] | type[float] | type[str]
    default: object
    help: str
    bounds: Between | None = None

    @property
    def metavar(self) -> str:
        """What stands for its value in a list of options."""
        return _METAVARS[self.type] if self.bounds is None else self.bounds.metavar

    @property
    def shown_default(self) -> str:
        """Its default as it is written."""
        return str(self.default) if self.bounds is None else self.bounds.show(self.default)

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is inspect.Parameter.empty


def describe_options(target: Callable[..., object]) -> list[HandlerOption]:
    """Return the options of a handler: its keyword parameters, with the text of an `Annotated` type as their help."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # implemented in C, without a signature
        return []
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (TypeError, NameError, AttributeError):  # not a function, or names that exist only for a type checker
        hints = {}
    if not inspect.isclass(target):
        parameters = parameters[1:]  # without the bytes
    options = []
    for parameter in parameters:
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            continue
        hint: object = hints.get(parameter.name, type(parameter.default))
        text, bounds = "", None
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            text = next((note for note in notes if isinstance(note, str)), "")
            bounds = next((note for note in notes if isinstance(note, Between)), None)
        # `int | None` takes whole numbers.
        kind = next((kind for kind in (hint, *get_args(hint)) if kind in (bool, int, float, str)), str)
        options.append(HandlerOption(parameter.name, kind, parameter.default, text, bounds))
    return options


def check_options(name: str, known: list[HandlerOption], given: Mapping[str, object]) -> dict[str, object]:
    """Return the given options, each converted to the type that the handler declares.

    Parameters
    ----------
    name:
        The handler, as the error names it.
    known:
        The options that the handler declares.
    given:
        The values by option name. Text, which a flag or a variable gives, is converted.

    Raises
    ------
    ConfigError
        An option is unknown, missing or of the wrong type.

    """
    by_name = {option.name: option for option in known}
    values = {}
    for key, value in given.items():
        if key not in by_name:
            takes = ", ".join(by_name) or "no options"
            raise ConfigError(f"handler {name} has no option {key!r}: it takes {takes}", key="handler_options")
        option = by_name[key]
        bounds = option.bounds
        values[key] = _convert(key, option.type, value) if bounds is None else _convert_bounded(key, bounds, value)
    for option in known:
        if option.required and option.name not in given:
            raise ConfigError(f"handler {name} needs the option {option.name!r}", key="handler_options")
    return values


def _convert(key: str, kind: type, value: object) -> object:
    """Return a value of the option's type as it is, and text converted to that type."""
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
    raise ConfigError(f"{key} = {value!r}: must be {_WANTED[kind]}", key="handler_options")


def _convert_bounded(key: str, bounds: Between, value: object) -> int:
    """Return a whole number within its bounds, read from text if it comes as text."""
    try:
        number = bounds.read(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    # Not `isinstance`: a bool is an int, too.
    if type(number) is int and bounds.low <= number <= bounds.high:
        return number
    raise ConfigError(f"{key} = {value!r}: must be {bounds.wanted}", key="handler_options")
