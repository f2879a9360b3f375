"""What to listen on, and what a connection must begin with there."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import cast

from echoserver.config.addresses import Endpoints, Networks
from echoserver.config.declaring import option
from echoserver.config.values import Choice, Duration, FileName, Text, Whole
from echoserver.net.endpoint import Endpoint


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Listening:
    """The options of this group. See `ServerConfig`."""

    host: str = option(
        "127.0.0.1",
        Text("HOST"),
        "Address or host name to listen on; a name stands for all of its addresses.",
        "Only this machine can reach the default address. 0.0.0.0 is all of IPv4, :: all of both families.",
        fixed=True,
    )
    port: int = option(
        9000,
        Whole(0, 65535, "PORT"),
        "Port to listen on; 0 takes a free one.",
        "Ports from 1024 need no privilege. The log line `listening` shows the port in use.",
        fixed=True,
    )
    listen: tuple[Endpoint, ...] = option(
        (),
        Endpoints(),
        "What to listen on, instead of host and port: tcp://HOST:PORT, tls://HOST:PORT, unix:/PATH, fd:NUMBER or "
        "systemd:NAME; can be given more than once.",
        "All endpoints share the limits. The file of a unix socket has mode 0660, or the one of unix:/PATH?mode=0600. "
        "With ?proxy=require at the end, each connection must begin with a PROXY header.",
        fixed=True,
    )
    proxy_trusted: tuple[IPv4Network | IPv6Network, ...] = option(
        cast("tuple[IPv4Network | IPv6Network, ...]", ()),
        Networks(),
        "Address or network of a proxy whose PROXY headers are believed; can be given more than once.",
        "A header names the peer's address, so whoever may send one may be anybody. Peers of unix sockets always may.",
    )
    proxy_timeout: float = option(
        5.0,
        Duration(),
        "End a connection whose PROXY header is not complete after this long.",
        "A proxy sends it at once. Peers that send nothing should not hold a slot for as long as an idle connection.",
    )
    tls_cert: str = option(
        "",
        FileName(),
        "PEM file with the certificate that tls:// endpoints present, followed by those of intermediate authorities.",
        "All TLS endpoints share it. It may hold the private key, too.",
    )
    tls_key: str = option(
        "",
        FileName(),
        "PEM file with the private key, if it is not in the file of the certificate; without a password.",
        "Certificates are public and keys are not, so they usually are in separate files.",
    )
    tls_client_ca: str = option(
        "",
        FileName(),
        "PEM file with the authorities for clients: a client must then present a certificate of one of them.",
        "None by default: any client may connect.",
    )
    tls_min_version: str = option(
        "1.2",
        Choice("1.2", "1.3"),
        "Oldest version of TLS to accept.",
        "Older versions than these are broken (RFC 8996).",
    )
    handshake_timeout: float = option(
        10.0,
        Duration(),
        "End a connection whose TLS handshake is not complete after this long.",
        "Peers that say nothing should not hold a slot for as long as an idle connection.",
    )
