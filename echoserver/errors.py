"""The errors that can occur before and while serving. Each class carries the exit code that the command ends with."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

_SHOWN = 80


def printable(text: str) -> str:
    r"""Return the text on one line, with every character that is not printable escaped, such as `\x07` for BEL.

    Text that comes from a handler, a file or the environment may contain control characters, C1 (`\x80` to `\x9f`)
    included, which a terminal would obey.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shown(value: object) -> str:
    """Return a refused value as an error message shows it: on one line, and cut off if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer with too many digits (sys.set_int_max_str_digits)
        return "this huge number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the end of the message about a name that there isn't."""
    import difflib  # needed only for an error

    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(known)


class EchoServerError(Exception):
    """Base class of all errors that this package raises. Its text is one printable line for the user."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class BindError(EchoServerError):
    """The server can't listen on its address, or can't go on accepting."""


class ConfigError(EchoServerError):
    """A configuration value is refused.

    Parameters
    ----------
    problem:
        What is wrong and what would be right, without the name of the option.
    key:
        The option at fault, as `ServerConfig` spells it; `None` if it isn't a single option.
    origin:
        Where the value came from (`--port`, `ECHOSERVER_PORT`, a file); `None` if the caller doesn't know.

    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problem: str, *, key: str | None = None, origin: str | None = None) -> None:
        self.problem = printable(problem)
        self.key = key
        self.origin = origin
        super().__init__(problem, key, origin)

    def __str__(self) -> str:
        where = self.origin or self.key
        return printable(f"{where}: {self.problem}") if where else self.problem


class PeerError(EchoServerError):
    """The peer has sent what the protocol of its handler does not allow; the text says what.

    A handler raises it. Its connection ends with the reason `handler`, as for any other exception; but since the
    handler is not at fault, the log has the text instead of a traceback.
    """


class OpeningError(EchoServerError):
    """A connection has ended before its handler was made. The text says why; it is empty if the peer said nothing."""
