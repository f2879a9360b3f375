"""Declaring an option: its default, its kind of value, and the texts that explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeVar

from echoserver.config.values import Kind, Option

T = TypeVar("T")


def option(
    default: T,
    kind: Kind[T],
    help: str,  # noqa: A002 - it is the help text
    why: str,
    *,
    fixed: bool = False,
) -> T:
    """Return the field of a dataclass that declares an option.

    Parameters
    ----------
    default:
        Its value if none is given.
    kind:
        What values it accepts.
    help:
        What it does, for `--help` and the configuration file.
    why:
        Why the default is what it is, or when to change it; for the configuration file.
    fixed:
        Whether a server of one process keeps the value that it was started with.

    """
    made = Option(kind, help, why, fixed)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata={"option": made})
    return field(default=default, metadata={"option": made})
