"""The options that say what is spoken before the exchange: TLS, and the header of a proxy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from echoclient.tls_settings import SettingError, TlsSettings

if TYPE_CHECKING:
    from echoclient.proxy import Address
    from echoclient.target import Target

# Any function that click can make a command of.
F = TypeVar("F", bound=Callable[..., object])


def _source_value(text: str) -> Address:
    from echoclient.proxy import parse_source

    try:
        return parse_source(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _file(flag: str, text: str) -> Callable[[F], F]:
    return click.option(flag, type=click.Path(), default="", metavar="FILE", help=text)


OPTIONS: tuple[Callable[[F], F], ...] = (
    _file("--tls-ca", "Trust the authorities in this PEM file, not the system's."),
    _file("--tls-cert", "Present the certificate in this PEM file."),
    _file("--tls-key", "Its private key, if that is in a file of its own."),
    click.option(
        "--tls-servername", default="", metavar="NAME", help="Ask for this name, and expect it in the certificate."
    ),
    click.option("--tls-insecure", is_flag=True, help="Accept any certificate."),
    click.option(
        "--proxy-header",
        type=click.Choice(["v1", "v2"]),
        help="Begin each connection with a PROXY header of this version, before TLS.",
    ),
    click.option(
        "--proxy-source",
        type=_source_value,
        metavar="IP:PORT",
        help="The client that the header names.  [default: this one]",
    ),
)


def transport_options(command: F) -> F:
    """Give a command the options for TLS and the PROXY header, as part of what it gets as ``target: Target``.

    It goes below all other options, so that these come last in the help.
    """

    @functools.wraps(command)
    def with_transport(
        *,
        target: Target,
        proxy_header: Literal["v1", "v2"] | None,
        proxy_source: Address | None,
        **rest: Any,  # noqa: ANN401 - whatever else the command takes
    ) -> object:
        tls = {name: rest.pop(name) for name in ("tls_ca", "tls_cert", "tls_key", "tls_servername", "tls_insecure")}
        target = _with_proxy(_with_tls(target, tls), proxy_header, proxy_source)
        return command(target=target, **rest)

    decorated: Callable[..., object] = with_transport
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return cast("F", decorated)


def _with_tls(target: Target, given: dict[str, Any]) -> Target:
    if target.tls is None:
        for name, value in given.items():
            if value:
                flag = f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{flag} is for TLS, and {target} is not: write the target as tls://host:port")
        return target
    settings = TlsSettings(**{name.removeprefix("tls_"): value for name, value in given.items()})
    try:
        settings.check()
    except SettingError as error:
        raise click.UsageError(f"{error.option}: {error}") from None
    return replace(target, tls=settings)


def _with_proxy(target: Target, version: Literal["v1", "v2"] | None, source: Address | None) -> Target:
    if version is None:
        if source is not None:
            raise click.UsageError("--proxy-source is part of a header: give its version with --proxy-header v1 or v2")
        return target
    from echoclient.proxy import ProxySettings

    return replace(target, proxy=ProxySettings(version, source))
