"""How flags, the environment and a file become one `ServerConfig`.

A flag overrides an `ECHOSERVER_...` variable, which overrides the TOML file, which overrides the default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from echoserver.config.schema import ServerConfig, options
from echoserver.config.values import problem_of
from echoserver.errors import ConfigError, did_you_mean, shown
from echoserver.net.endpoint import TcpEndpoint

T = TypeVar("T")
V = TypeVar("V")

ENVIRONMENT = "ECHOSERVER_"
# Variables that Kubernetes adds to a container for each Service named "echoserver" or "echoserver-...". They are not
# options.
_SERVICE_LINK = re.compile(r"(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration, and where the value of each option came from."""

    config: ServerConfig
    origins: Mapping[str, str]

    def locate(self, error: ConfigError) -> ConfigError:
        """Return the error with the origin of the value at fault."""
        return _located(error, self.origins)


def load_config(flags: Mapping[str, str | Sequence[str]], environment: Mapping[str, str]) -> LoadedConfig:
    """Combine flags, environment and file into a configuration.

    Parameters
    ----------
    flags:
        The texts from the command line by option name, including `config`, the path of the file. An option that can be
        given more than once has a sequence of texts.
    environment:
        The process's environment.

    Raises
    ------
    ConfigError
        A value, a key or the file is refused. The message names the key, its origin and what is allowed.

    """
    kinds = {name: option.kind for name, option in options()}
    values: dict[str, Any] = {}
    origins = {name: "default" for name, _ in options()}
    variables = _our_variables(environment)
    path = flags.get("config", variables.get("config"))
    if path is not None:
        path = str(path)
        for key, value in _read_file(path, "--config" if "config" in flags else ENVIRONMENT + "CONFIG").items():
            values[key] = _read(key, value, kinds[key].load, f"{key} in {path}")
            origins[key] = path
    for key, text in variables.items():
        if key != "config":
            origins[key] = ENVIRONMENT + key.upper()
            values[key] = _read(key, text, kinds[key].parse, origins[key])
    for key, given in flags.items():
        if key != "config":
            origins[key] = flag_of(key)
            read: Callable[[Any], Any] = kinds[key].parse if isinstance(given, str) else kinds[key].parse_all
            values[key] = _read(key, given, read, origins[key])
    for key in ("host", "port"):
        if values.get("listen") and key in values:
            # Even where the value is the default, which the configuration itself can't tell from one not given.
            problem = f"can't be combined with {_where(key, origins)}; write that as tcp://HOST:PORT"
            raise ConfigError(problem, key="listen", origin=_where("listen", origins))
    try:
        config = ServerConfig(**values)
    except ConfigError as error:  # each value is allowed, but two of them conflict
        raise _located(error, origins) from None
    return LoadedConfig(config, origins)


def check_effect(flags: Iterable[str], config: ServerConfig) -> None:
    """Refuse flags that do nothing: a server without TLS must not be taken for one with TLS.

    In a file or in the environment, which several servers may share, they are no mistake.

    Parameters
    ----------
    flags:
        The names of the options that were given as flags.
    config:
        What has come of them.

    Raises
    ------
    ConfigError
        One of them has no effect. The message says what is missing.

    """
    over_tls = any(isinstance(endpoint, TcpEndpoint) and endpoint.tls for endpoint in config.endpoints)
    proxied = any(endpoint.proxy for endpoint in config.endpoints)
    for key in flags:
        if not over_tls and (key.startswith("tls_") or key == "handshake_timeout"):
            raise ConfigError("has no effect without an endpoint such as --listen tls://HOST:PORT", origin=flag_of(key))
        if not proxied and key.startswith("proxy_"):
            raise ConfigError("has no effect without ?proxy=require at the end of a --listen", origin=flag_of(key))
        if config.admin is None and key == "admin_token_file":
            raise ConfigError("has no effect without --admin", origin=flag_of(key))
        if config.processes == 1 and key == "retire_timeout":
            raise ConfigError("has no effect without --processes", origin=flag_of(key))
        if not config.has_faults and key == "fault_seed":
            raise ConfigError("has no effect without a rule such as --fault reset@1%", origin=flag_of(key))


def _located(error: ConfigError, origins: Mapping[str, str]) -> ConfigError:
    if error.origin or error.key is None or origins[error.key] == "default":
        return error
    return ConfigError(error.problem, key=error.key, origin=_where(error.key, origins))


def _where(key: str, origins: Mapping[str, str]) -> str:
    origin = origins[key]
    return origin if origin.startswith(("--", ENVIRONMENT)) else f"{key} ({origin})"


def flag_of(key: str) -> str:
    """Return the command-line flag of an option. That of a table is singular: it adds one entry."""
    return "--" + ("handler_option" if key == "handler_options" else key).replace("_", "-")


def _our_variables(environment: Mapping[str, str]) -> dict[str, str]:
    known = {"CONFIG": "config", **{name.upper(): name for name, _ in options()}}
    found = {}
    for variable, text in environment.items():
        name = variable.removeprefix(ENVIRONMENT)
        if name == variable or not text or _SERVICE_LINK.fullmatch(name) or _is_service_url(name, text):
            continue
        if name not in known:
            raise ConfigError(
                f"there is no such option; {did_you_mean(name.lower(), list(known.values()))}", origin=variable
            )
        found[known[name]] = text
    return found


def _is_service_url(name: str, text: str) -> bool:
    return (name == "PORT" or name.endswith("_PORT")) and _SERVICE_URL.match(text) is not None


def _read_file(path: str, told_by: str) -> dict[str, Any]:
    from echoserver.toml_file import read_toml  # imported here because most servers start without a file

    table = read_toml(path, told_by)
    known = [name for name, _ in options()]
    for key in table:
        if key not in known:
            raise ConfigError(f"unknown key {shown(key)}; {did_you_mean(key, known)}", origin=path)
    return table


def _read(key: str, value: T, read: Callable[[T], V], origin: str) -> V:
    try:
        return read(value)
    except ValueError as error:
        raise ConfigError(problem_of(value, error), key=key, origin=origin) from None
