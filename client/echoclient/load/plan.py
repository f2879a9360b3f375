"""The parameters of a run, checked, and their division among processes."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, cast

from echoclient.proxy import ProxySettings, format_source, parse_source
from echoclient.target import Target, parse_target
from echoclient.tls_settings import TlsSettings

Expect = Literal["echo", "upper"]
Mode = Literal["closed", "open", "churn"]

LARGEST_SIZE = 1 << 30
MOST_CONNECTIONS = 60_000
DEFAULT_DURATION = 10.0


class PlanError(ValueError):
    """A parameter or a combination that is not possible; the message is one line that says what would be right."""


@dataclass(frozen=True)
class Share:
    """One process's part of a plan.

    Attributes:
        first: the number of its first connection, over all processes.
        connections: how many connections it has.
        messages: how many messages it sends; ``None`` if time ends the run.
    """

    first: int
    connections: int
    messages: int | None


@dataclass(frozen=True)
class Plan:
    """The parameters of one run.

    Attributes:
        target: where the server is.
        connections: connections open at once, over all processes.
        smallest: bytes of the smallest message.
        largest: bytes of the largest message; sizes are drawn evenly from this range.
        pipeline: messages that a connection may have in flight.
        duration: seconds to measure; ``None`` with ``messages``.
        messages: messages to measure (with ``churn``, connections to make); ``None`` with ``duration``.
        rate: messages per second over all connections, at planned times; ``None``: each reply triggers the next.
        churn: connect, exchange one message and close, repeatedly.
        expect: what the server does to the bytes.
        verify: whether to compare every byte that comes back.
        warmup: seconds of the same load before measuring starts.
        processes: how many processes generate the load.
        sources: addresses of this machine to connect from, used in turn; empty: the kernel chooses. Each has ports of
            its own, and a closed connection occupies one for a while.
        seed: decides the bytes and the sizes; the same seed sends the same.
        timeout: seconds that a connect or a reply may take; 0: no limit.
        wait: seconds to wait until the server is up.

    Raises:
        PlanError: on construction, for a value or a combination that is not possible.
    """

    target: Target = field(default_factory=Target)
    connections: int = 16
    smallest: int = 64
    largest: int = 64
    pipeline: int = 1
    duration: float | None = None
    messages: int | None = None
    rate: float | None = None
    churn: bool = False
    expect: Expect = "echo"
    verify: bool = True
    warmup: float = 0.0
    processes: int = 1
    sources: tuple[str, ...] = ()
    seed: int = 1
    timeout: float = 5.0
    wait: float = 0.0

    def __post_init__(self) -> None:
        if self.duration is None and self.messages is None:
            object.__setattr__(self, "duration", DEFAULT_DURATION)
        self._check_each()
        self._check_together()

    def _check_each(self) -> None:
        _within("connections", self.connections, 1, MOST_CONNECTIONS)
        _within("size", self.smallest, 1, LARGEST_SIZE)
        _within("size", self.largest, 1, LARGEST_SIZE)
        _within("pipeline", self.pipeline, 1, 100_000)
        _within("processes", self.processes, 1, 256)
        for source in self.sources:
            if not _can_be_source(source):
                raise PlanError(f"source {source!r}: must be an IP address of this machine, such as 127.0.0.2")
        if self.duration is not None and not 0 < self.duration < math.inf:
            raise PlanError(f"duration {self.duration:g} s: must be longer than 0")
        if self.messages is not None:
            _within("messages", self.messages, 1, 10**12)
        if self.rate is not None and not 0 < self.rate <= 1e9:
            raise PlanError(f"rate {self.rate:g}: must be more than 0 and at most 1e9 messages per second")
        for name, seconds in (("warmup", self.warmup), ("timeout", self.timeout), ("wait", self.wait)):
            if not 0 <= seconds < math.inf:
                raise PlanError(f"{name} {seconds:g} s: must be 0 or longer")

    def _check_together(self) -> None:
        if self.smallest > self.largest:
            raise PlanError(f"size {self.smallest}-{self.largest}: write the smaller number first")
        if self.duration is not None and self.messages is not None:
            raise PlanError("a duration and a number of messages: give only one of them")
        if self.messages is not None and self.messages < self.connections:
            raise PlanError(
                f"{self.messages} messages over {self.connections} connections: each needs at least one; "
                f"use {self.messages} connections or fewer"
            )
        if self.processes > self.connections:
            raise PlanError(
                f"{self.processes} processes for {self.connections} connections: each needs at least one connection"
            )
        if self.sources and self.target.path:
            raise PlanError("a source is an address, and a unix socket has none: leave out the sources")
        if self.churn and self.rate is not None:
            raise PlanError("churn goes as fast as the server allows: leave out the rate")
        if self.churn and self.pipeline > 1:
            raise PlanError("churn makes one exchange per connection: leave out the pipeline")

    @property
    def mode(self) -> Mode:
        """What triggers messages: replies (``closed``), the clock (``open``), or new connections (``churn``)."""
        if self.churn:
            return "churn"
        return "closed" if self.rate is None else "open"

    @property
    def size(self) -> str:
        """The message size, as written on the command line."""
        return str(self.smallest) if self.smallest == self.largest else f"{self.smallest}-{self.largest}"

    def share(self, index: int) -> Share:
        """Return the part of process ``index``: consecutive connections, and messages divided as evenly as possible."""
        first, stop = (self.connections * part // self.processes for part in (index, index + 1))
        messages = None
        if self.messages is not None:
            before, after = (self.messages * part // self.processes for part in (index, index + 1))
            messages = after - before
        return Share(first, stop - first, messages)

    def to_json(self) -> dict[str, object]:
        """Return the parameters as JSON values; `from_json` reads them back."""
        values = {**asdict(self), "target": str(self.target)}
        if self.target.tls:
            values |= {f"tls_{name}": value for name, value in asdict(self.target.tls).items() if value}
        if proxy := self.target.proxy:
            values["proxy_header"] = proxy.version
            if proxy.source:
                values["proxy_source"] = format_source(proxy.source)
        return values

    @staticmethod
    def from_json(values: dict[str, object]) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            PlanError: a value is not possible, missing or unknown.
        """
        try:
            sources = tuple(cast("list[str]", values.get("sources", [])))
            target = _target(values)
            rest = {name: value for name, value in values.items() if not name.startswith(("tls_", "proxy_"))}
            return Plan(**{**rest, "target": target, "sources": sources})  # type: ignore[arg-type]
        except (TypeError, KeyError, ValueError) as error:
            raise PlanError(f"not the parameters of a run: {error}") from None


def _target(values: dict[str, object]) -> Target:
    """Return the target with what is spoken to it, all of it as `Plan.to_json` writes it."""
    target = parse_target(str(values["target"]))
    tls = {name.removeprefix("tls_"): value for name, value in values.items() if name.startswith("tls_")}
    if tls:
        if target.tls is None:
            raise ValueError(f"{target} is not a target with TLS")
        target = replace(target, tls=TlsSettings(**tls))  # type: ignore[arg-type]
    if "proxy_header" in values:
        version = values["proxy_header"]
        if version not in ("v1", "v2"):
            raise ValueError(f"{version!r} is not a version of the PROXY header")
        source = parse_source(str(values["proxy_source"])) if "proxy_source" in values else None
        target = replace(target, proxy=ProxySettings(version, source))
    return target


def parse_sizes(text: str) -> tuple[int, int]:
    """Read ``64`` or ``64-4096``.

    Raises:
        PlanError: the text is neither; the message says what would be right.
    """
    low, dash, high = text.partition("-")
    numbers = (low, high) if dash else (low, low)
    if not all(number.isascii() and number.isdigit() and len(number) <= 10 for number in numbers):
        raise PlanError(f"{text!r} is not a size: write bytes such as 64, or a range such as 64-4096")
    return cast("tuple[int, int]", tuple(map(int, numbers)))


def _can_be_source(text: object) -> bool:
    if not isinstance(text, str) or not text.isprintable():  # a value from a file may have any type
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_multicast and not address.is_unspecified


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise PlanError(f"{name} {value}: must be from {least} to {most}")
