"""What can go wrong before and while serving; each leaf carries the exit code the command ends with."""

from __future__ import annotations

from typing import ClassVar


class EchoServerError(Exception):
    """Base of all errors this package raises; its text is one line meant for the user."""

    exit_code: ClassVar[int] = 1


class BindError(EchoServerError):
    """The server can't listen where it was told to, or can't go on accepting."""


class ConfigError(EchoServerError):
    """A configuration value is refused.

    Parameters
    ----------
    problem:
        What is wrong and what would be right, without the name of the option.
    key:
        The option at fault, as `ServerConfig` spells it; `None` where it isn't one option.
    origin:
        Where the value came from (`--port`, `ECHOSERVER_PORT`, a file); `None` where the raiser doesn't know.

    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problem: str, *, key: str | None = None, origin: str | None = None) -> None:
        self.problem = problem
        self.key = key
        self.origin = origin
        super().__init__(problem, key, origin)

    def __str__(self) -> str:
        where = self.origin or self.key
        return f"{where}: {self.problem}" if where else self.problem
