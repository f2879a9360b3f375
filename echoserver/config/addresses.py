"""The kinds of value that are lists of addresses: networks, and endpoints to listen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from echoserver.config.values import Kind, RefusalError, problem_of
from echoserver.net.endpoint import ALLOWED_ENDPOINTS, Endpoint, TcpEndpoint, UnixEndpoint, parse_endpoint

T = TypeVar("T")


class Several(Kind[tuple[T, ...]]):
    """Several values: a flag for each; in the environment, a line for each; in a file, a list."""

    many = True

    def check(self, value: object) -> tuple[T, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise ValueError(self.allowed)
        return tuple(self._checked(entry) for entry in value)

    def parse(self, text: str) -> tuple[T, ...]:
        return self.check(text.removesuffix("\n").split("\n"))

    def parse_all(self, texts: Sequence[str]) -> tuple[T, ...]:
        return self.check(texts)

    def check_one(self, entry: object) -> T:
        """Return one of the values, or raise `ValueError` if it isn't allowed."""
        raise NotImplementedError

    def _checked(self, entry: object) -> T:
        try:
            return self.check_one(entry)
        except ValueError as error:  # it is this one that is refused, and not all of them
            raise RefusalError(problem_of(entry, error)) from None


class Networks(Several[IPv4Network | IPv6Network]):
    """IP addresses and networks."""

    metavar = "NETWORK"
    allowed = "IP addresses, or networks without host bits, such as 192.0.2.7 or 10.0.0.0/8 (in a file, a list)"

    def show(self, value: tuple[IPv4Network | IPv6Network, ...]) -> object:
        # An address stays an address, without the length of its prefix.
        return [str(entry.network_address if entry.num_addresses == 1 else entry) for entry in value]

    def check_one(self, entry: object) -> IPv4Network | IPv6Network:
        if isinstance(entry, IPv4Network | IPv6Network):
            return entry
        try:
            # Only text: ip_network would accept a number too.
            return ip_network(entry if isinstance(entry, str) else "")
        except ValueError:
            raise ValueError(self.allowed) from None


class Endpoints(Several[Endpoint]):
    """What to listen on."""

    metavar = "ENDPOINT"
    _in_a_file = " (in a file, a list)"
    allowed = ALLOWED_ENDPOINTS + _in_a_file

    def check(self, value: object) -> tuple[Endpoint, ...]:
        endpoints = super().check(value)
        if len({endpoint.address for endpoint in endpoints}) < len(endpoints):
            raise ValueError("endpoints that differ from one another")
        return endpoints

    def show(self, value: tuple[Endpoint, ...]) -> object:
        return [str(endpoint) for endpoint in value]

    def check_one(self, entry: object) -> Endpoint:
        if isinstance(entry, Endpoint):
            return entry
        try:
            return parse_endpoint(entry if isinstance(entry, str) else "")
        except ValueError as error:
            raise ValueError(f"{error}{self._in_a_file}") from None


_PRIVATE = 0o600


class AdminEndpoint(Kind[Endpoint | None]):
    """Where to answer requests for control, or nowhere."""

    metavar = "ENDPOINT"
    allowed = "unix:/PATH or tcp://HOST:PORT; empty in a file is none"

    def check(self, value: object) -> Endpoint | None:
        if value is None or isinstance(value, Endpoint):
            return value
        if value == "":
            return None
        try:
            text = value if isinstance(value, str) else ""
            endpoint = parse_endpoint(text)
        except ValueError:
            raise ValueError(self.allowed) from None
        if isinstance(endpoint, UnixEndpoint) and not endpoint.proxy:
            return endpoint if "mode=" in text else replace(endpoint, mode=_PRIVATE)
        if isinstance(endpoint, TcpEndpoint) and not endpoint.proxy and not endpoint.tls:
            return endpoint
        raise ValueError(self.allowed)

    def parse(self, text: str) -> Endpoint | None:
        if not text:
            raise ValueError(self.allowed)
        return self.check(text)

    def show(self, value: Endpoint | None) -> object:
        return "" if value is None else str(value)
