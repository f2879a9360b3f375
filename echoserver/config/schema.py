"""Every option, declared once; and how flags, environment and file become one frozen `ServerConfig`.

Flags beat `ECHOSERVER_...` variables, which beat the TOML file, which beats the defaults.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from echoserver.config.rates import Amount, Rate
from echoserver.config.values import (
    AmountValue,
    Choice,
    Duration,
    HandlerName,
    Kind,
    Network,
    Networks,
    Option,
    RateValue,
    Table,
    Text,
    Whole,
    shown,
)
from echoserver.errors import ConfigError
from echoserver.handlers import HandlerSpec

T = TypeVar("T")

ENVIRONMENT = "ECHOSERVER_"
# What Kubernetes puts into a container's environment for each Service named "echoserver" or "echoserver-..." is not
# meant for us.
_SERVICE_LINK = re.compile(r"(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


def _option(default: T, kind: Kind[T], help: str, why: str) -> T:  # noqa: A002 - it is the help text
    made = Option(kind, help, why)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata={"option": made})
    return field(default=default, metadata={"option": made})


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How a server behaves. Durations are in seconds here, and `0` turns a limit off.

    Raises
    ------
    ConfigError
        A value is not allowed; the message names the option and says what is.

    """

    host: str = _option(
        "127.0.0.1",
        Text("HOST"),
        "Address or name to listen on; every address of a name is used.",
        "Nobody but this machine can reach a server that was only tried out. 0.0.0.0 is all of IPv4, :: all of both.",
    )
    port: int = _option(
        9000,
        Whole(0, 65535, "PORT"),
        "Port to listen on; 0 takes a free one.",
        "Above 1024, so that no privilege is needed. The log line `listening` has the port taken.",
    )
    handler: HandlerSpec = _option(
        cast("HandlerSpec", "echo"),
        HandlerName(),
        "What answers: echo, upper, an installed handler, or package.module:attribute.",
        "`echoserver handlers` lists what there is.",
    )
    handler_options: Mapping[str, Any] = _option(
        cast("Mapping[str, Any]", {}),
        Table(),
        "An option of the handler; give it once for each.",
        "Each handler has its own options and checks them.",
    )
    mode: str = _option(
        "threads",
        Choice("threads", "workers"),
        "How connections are served: a thread for each, or a few worker threads for all.",
        "A thread per connection is the simplest to reason about; workers serve ten thousand mostly idle peers.",
    )
    workers: int = _option(
        0,
        Whole(0, 1000),
        "Worker threads in workers mode; 0 is 4 per core, at least 8.",
        "More than the cores, since a handler that needs a thread is one that waits.",
    )
    queue_size: int = _option(
        1024,
        Whole(1, 1_000_000),
        "How many connections may wait for a worker.",
        "When it is full, polling stops and TCP's flow control carries the pressure to the peers.",
    )
    queue_order: str = _option(
        "fifo",
        Choice("fifo", "lifo", "priority"),
        "Who is served next: who waits longest, who came last, or who has been served least.",
        "fifo is fair. lifo keeps most peers fast under overload, and starves the rest. priority favours light peers.",
    )
    dispatch: str = _option(
        "auto",
        Choice("auto", "inline", "queue"),
        "Who calls the handler in workers mode: the poller (inline), a worker (queue), or as the handler asks for.",
        "A hand-over to a worker costs more than a handler that never blocks. The others are to measure and learn.",
    )
    cores: str = _option(
        "auto",
        Choice("auto", "one", "all"),
        "Which cores the serving threads run on: all, or one; auto is one, unless the handler may block.",
        "Under the interpreter's lock one of them runs at a time, and on several cores they mostly wake one another.",
    )
    handler_timeout: float = _option(
        30.0,
        Duration(),
        "Log and end a connection whose handler keeps its thread for this long.",
        "A thread can't be ended from outside, but its peer can be let go, and the log shows where the handler hangs.",
    )
    max_connections: int = _option(
        1024,
        Whole(1, 1_000_000),
        "How many connections may be open at once.",
        "Each costs a descriptor, and in threads mode a thread; the descriptor limit must allow it.",
    )
    at_limit: str = _option(
        "wait",
        Choice("wait", "reject"),
        "At the limit: leave new peers in the kernel's queue, or accept and close them at once.",
        "Waiting loses nobody when a burst is short; rejecting tells a load balancer at once.",
    )
    max_connections_per_host: int = _option(
        0,
        Whole(0, 1_000_000),
        "How many connections one host may have open at once; further ones are closed at once. 0 is off.",
        "Keeps one host from taking all places. Off, since all users behind one router or proxy are one host.",
    )
    trusted: Sequence[Network] = _option(
        (),
        Networks(),
        "An address or network that the limit per host is not for; give it once for each.",
        "A load balancer is one host and brings everybody.",
    )
    idle_timeout: float = _option(
        600.0,
        Duration(),
        "End a connection on which nothing moved for this long.",
        "Frees the slot of a peer that vanished without a word. Ten minutes outlast what firewalls commonly keep.",
    )
    max_lifetime: float = _option(
        0.0,
        Duration(),
        "End a connection that has been open for this long; what had arrived is answered.",
        "A peer that says a byte now and then is never idle. Off, since a long conversation is no fault.",
    )
    write_timeout: float = _option(
        30.0,
        Duration(),
        "End a connection whose peer takes nothing of its reply for this long.",
        "A peer that never reads must not hold a slot and a reply for ever.",
    )
    rate_limit: Rate = _option(
        Rate(0),
        RateValue(),
        "How much a connection may send a second, in messages (100/s) or bytes (64kB/s); more has to wait.",
        "A greedy peer is slowed down by TCP's flow control, and loses nothing. A message is what one receive gets.",
    )
    rate_burst: Amount = _option(
        Amount(0),
        AmountValue(Amount),
        "How much of that may come at once, in the same unit; 0 is one second's worth.",
        "People and programs come in bursts; only what lasts is held back.",
    )
    drain_timeout: float = _option(
        30.0,
        Duration(),
        "When stopping, how long connections may take to get their replies; 0 waits without limit.",
        "A container's stop grace must be longer than this, or the engine cuts first.",
    )
    backlog: int = _option(
        1024,
        Whole(1, 65535),
        "How many peers the kernel keeps waiting to be accepted.",
        "A burst of connects is held here; the kernel silently caps it at net.core.somaxconn.",
    )
    log_level: str = _option(
        "info",
        Choice("debug", "info", "warning", "error"),
        "The least important log lines to print.",
        "At debug, connections without a byte (health probes) appear too.",
    )
    log_format: str = _option(
        "auto",
        Choice("auto", "console", "json"),
        "How log lines look; auto: for people on a terminal, JSON elsewhere.",
        "Programs read the log when nobody watches it.",
    )
    stats_interval: float = _option(
        0.0,
        Duration(),
        "Log the counters regularly.",
        "Off: SIGUSR1 logs them whenever they are wanted, and the last line always has them.",
    )

    def __post_init__(self) -> None:
        for name, option in options():
            value = getattr(self, name)
            try:
                checked = option.kind.check(value)
            except ValueError as error:
                raise ConfigError(f"{shown(value)} is refused: must be {error}", key=name) from None
            # The one place that writes to a frozen config: 30 becomes 30.0, and a table a copy nobody else can change.
            object.__setattr__(self, name, checked)
        rate, burst = self.rate_limit, self.rate_burst
        if rate.count and burst.count and rate.of_bytes != burst.of_bytes:
            unit = "bytes, such as 64kB" if rate.of_bytes else "messages, such as 100"
            problem = f"{str(self.rate_burst)!r} is refused: must be {unit}, since rate_limit is {self.rate_limit}"
            raise ConfigError(problem, key="rate_burst")


def options() -> Iterator[tuple[str, Option[Any]]]:
    """Yield the name and the declaration of every option, in the order they are shown to people."""
    for entry in dataclasses.fields(ServerConfig):
        yield entry.name, entry.metadata["option"]


def default_of(name: str) -> Any:
    """Return the default of an option."""
    return getattr(ServerConfig(), name)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and, for each option, where its value came from."""

    config: ServerConfig
    origins: Mapping[str, str]

    def locate(self, error: ConfigError) -> ConfigError:
        """Return the error with the origin of the value that it complains of."""
        return _located(error, self.origins)


def load_config(flags: Mapping[str, str | Sequence[str]], environment: Mapping[str, str]) -> LoadedConfig:
    """Put the configuration together.

    Parameters
    ----------
    flags:
        The texts given on the command line by option name, `config` (the file) among them; several for an option that
        can be given more than once.
    environment:
        The process's environment.

    Raises
    ------
    ConfigError
        A value, a key or the file is refused; the message names the key, its origin and what is allowed.

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
    try:
        return LoadedConfig(ServerConfig(**values), origins)
    except ConfigError as error:  # each value is allowed, and two of them don't go together
        raise _located(error, origins) from None


def _located(error: ConfigError, origins: Mapping[str, str]) -> ConfigError:
    if error.origin or error.key is None or (origin := origins[error.key]) == "default":
        return error
    where = origin if origin.startswith(("--", ENVIRONMENT)) else f"{error.key} ({origin})"
    return ConfigError(error.problem, key=error.key, origin=where)


def flag_of(key: str) -> str:
    """Return the command-line flag of an option; a table's flag is singular, since it adds one entry."""
    return "--" + ("handler_option" if key == "handler_options" else key).replace("_", "-")


def _our_variables(environment: Mapping[str, str]) -> dict[str, str]:
    known = {"CONFIG": "config", **{name.upper(): name for name, _ in options()}}
    found = {}
    for variable, text in environment.items():
        name = variable.removeprefix(ENVIRONMENT)
        if name == variable or not text or _SERVICE_LINK.fullmatch(name) or _SERVICE_URL.match(text):
            continue
        if name not in known:
            raise ConfigError(
                f"there is no such option; {_did_you_mean(name.lower(), list(known.values()))}", origin=variable
            )
        found[known[name]] = text
    return found


def _read_file(path: str, told_by: str) -> dict[str, Any]:
    import tomllib  # most servers start without a file

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"can't read {path!r}: {error.strerror}; must be a TOML file", origin=told_by) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not a TOML file: byte {error.start} is no UTF-8", origin=path) from None
    except (ValueError, RecursionError) as error:  # beside its own errors, tomllib lets through those of int()
        raise ConfigError(f"not a TOML file: {' '.join(str(error).split())}", origin=path) from None
    known = [name for name, _ in options()]
    for key in table:
        if key not in known:
            raise ConfigError(f"unknown key {shown(key)}; {_did_you_mean(key, known)}", origin=path)
    return table


def _read(key: str, value: T, read: Callable[[T], Any], origin: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ConfigError(f"{shown(value)} is refused: must be {error}", key=key, origin=origin) from None


def _did_you_mean(key: str, known: list[str]) -> str:
    import difflib  # only on the way to an error

    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(known)
