"""The options that `serve` and `config` share: all those of the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import click

from echoserver.config import LoadedConfig, check_effect, default_of, flag_of, load_config, options

Command = TypeVar("Command", bound=Callable[..., None])
Given = str | tuple[str, ...] | None


def config_options(function: Command) -> Command:
    """Give a command every option of the configuration, as text: the configuration parses all origins alike."""
    for name, option in reversed(list(options())):
        kind = option.kind
        default = kind.show(default_of(name))
        text = option.help if default in ({}, []) else f"{option.help}  [default: {default}]"
        function = click.option(flag_of(name), name, metavar=kind.metavar, multiple=kind.many, help=text)(function)
    return click.option("--config", metavar="FILE", help="A TOML file, as config/echoserver.toml shows it.")(function)


def load(given: dict[str, Given]) -> LoadedConfig:
    """Read the configuration from the flags, the environment and the file."""
    # A handler in a file of the current directory is found by its module's name; last, so that it shadows nothing.
    sys.path.append("")
    flags = {key: value for key, value in given.items() if value is not None and value != ()}
    loaded = load_config(flags, os.environ)
    check_effect(flags, loaded.config)
    return loaded
