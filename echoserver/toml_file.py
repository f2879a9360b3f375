"""Reading a TOML file that a user has named."""

from __future__ import annotations

import tomllib
from typing import Any

from echoserver.errors import ConfigError


def read_toml(path: str, told_by: str) -> dict[str, Any]:
    """Return the table in a TOML file.

    Parameters
    ----------
    path:
        The path of the file.
    told_by:
        What has named it, such as `--config`, for the message if it can't be read.

    Raises
    ------
    ConfigError
        It can't be read, or is not TOML.

    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"can't read {path!r}: {error.strerror}; must be a TOML file", origin=told_by) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not a TOML file: byte {error.start} is not UTF-8", origin=path) from None
    except (ValueError, RecursionError) as error:  # besides its own errors, tomllib raises those of int()
        raise ConfigError(f"not a TOML file: {' '.join(str(error).split())}", origin=path) from None
