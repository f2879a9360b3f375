"""The configuration of a server: all options together, and what they must be in combination."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echoserver.config.groups.administering import Administering
from echoserver.config.groups.faulting import Faulting
from echoserver.config.groups.handling import Handling
from echoserver.config.groups.limiting import Limiting
from echoserver.config.groups.listening import Listening
from echoserver.config.groups.reporting import Reporting
from echoserver.config.groups.scaling import Scaling
from echoserver.config.values import Option, problem_of
from echoserver.errors import ConfigError
from echoserver.net.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

if TYPE_CHECKING:
    from echoserver.faults.plan import Plan


# A dataclass takes the fields of its bases from the last one to the first.
@dataclass(frozen=True, kw_only=True)
class ServerConfig(Reporting, Administering, Faulting, Limiting, Scaling, Handling, Listening):
    """How a server behaves. Durations are in seconds here, and 0 turns a limit off.

    `listen`, `rate_limit`, `rate_burst`, `trusted`, `proxy_trusted` and `fault` also accept the text that a file has,
    and hold the parsed value.

    Raises
    ------
    ConfigError
        A value is not allowed. The message names the option and what is allowed.

    """

    def __post_init__(self) -> None:
        for name, option in options():
            value = getattr(self, name)
            try:
                checked = option.kind.check(value)
            except ValueError as error:
                raise ConfigError(problem_of(value, error), key=name) from None
            # The only assignment to a frozen config: it stores 30 as 30.0, a text parsed, and a table copied, so that
            # nothing else can change it.
            object.__setattr__(self, name, checked)
        self._check_rates()
        self._check_endpoints()
        self._check_faults()
        if self.admin is not None and self.processes != 1:
            raise ConfigError("can't be combined with processes; it answers for a server of one process", key="admin")

    def _check_rates(self) -> None:
        rate, burst = self.rate_limit, self.rate_burst
        if rate.count and burst.count and rate.of_bytes != burst.of_bytes:
            unit = "bytes, such as 64kB" if rate.of_bytes else "messages, such as 100"
            problem = f"{str(burst)!r} is refused: must be {unit}, since rate_limit is {rate}"
            raise ConfigError(problem, key="rate_burst")

    def _check_endpoints(self) -> None:
        proxied = [endpoint for endpoint in self.listen if endpoint.proxy]
        if not self.proxy_trusted and any(not isinstance(endpoint, UnixEndpoint) for endpoint in proxied):
            problem = f"is missing: name the proxies that may connect to {proxied[0]}, such as 192.0.2.7 or 10.0.0.0/8"
            raise ConfigError(problem, key="proxy_trusted")
        for endpoint in self.listen:
            if isinstance(endpoint, TcpEndpoint) and endpoint.tls and not self.tls_cert:
                raise ConfigError(f"is missing: name the file with the certificate for {endpoint}", key="tls_cert")
        if self.listen:
            for name in ("host", "port"):
                if getattr(self, name) != getattr(ServerConfig, name):
                    raise ConfigError(f"can't be combined with {name}; write that as tcp://HOST:PORT", key="listen")

    def _check_faults(self) -> None:
        for name in ("fault", "fault_file", "fault_seed"):
            if self.fault_ticket and getattr(self, name):
                raise ConfigError(f"can't be combined with {name}; the ticket has rules and seed", key="fault_ticket")

    @property
    def has_faults(self) -> bool:
        """Whether connections meet faults on purpose."""
        return bool(self.fault or self.fault_file or self.fault_ticket)

    def refuse_fixed(self, after: ServerConfig) -> None:
        """Refuse a configuration to follow this one in a server that runs, if it changes what can't be changed there.

        Raises
        ------
        ConfigError
            It does. The message names the option.

        """
        for name, option in options():
            now, wanted = getattr(self, name), getattr(after, name)
            if option.fixed and now != wanted:
                shown = " to ".join(str(option.kind.show(value)) or "none" for value in (now, wanted))
                raise ConfigError(f"can't change from {shown} while the server runs; restart it", key=name)

    def changed(self, after: ServerConfig) -> list[str]:
        """Return the names of the options that differ."""
        return [name for name, _ in options() if getattr(self, name) != getattr(after, name)]

    def fault_plan(self) -> Plan | None:
        """Return what the connections of a server meet on purpose; `None` without rules.

        Raises
        ------
        ConfigError
            The file with rules is refused.

        """
        if not self.has_faults:
            return None
        from echoserver.faults.loading import load_plan

        return load_plan(self.fault, self.fault_seed, self.fault_file, self.fault_ticket)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where to listen: `listen`, or `host` and `port`."""
        return self.listen or (TcpEndpoint(self.host, self.port),)


def options() -> Iterator[tuple[str, Option[Any]]]:
    """Yield the name and the declaration of every option, in the order in which they are shown."""
    for entry in dataclasses.fields(ServerConfig):
        yield entry.name, entry.metadata["option"]


def default_of(name: str) -> object:
    """Return the default of an option."""
    return getattr(ServerConfig(), name)
