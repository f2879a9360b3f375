"""The admin endpoint, and what a drain waits for before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from echoserver.config.addresses import AdminEndpoint
from echoserver.config.declaring import option
from echoserver.config.values import Duration, FileName
from echoserver.net.endpoint import Endpoint


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Administering:
    """The options of this group. See `ServerConfig`."""

    admin: Endpoint | None = option(
        None,
        AdminEndpoint(),
        "Where to answer HTTP requests for probes, metrics and control: unix:/PATH or tcp://HOST:PORT.",
        "Off by default. On a unix socket, whoever may open its file controls the server; it has mode 0600.",
        fixed=True,
    )
    admin_token_file: str = option(
        "",
        FileName(),
        "File with the token that control over TCP requires (Authorization: Bearer TOKEN), readable by its owner only.",
        "Required where other machines can connect to the admin endpoint.",
        fixed=True,
    )
    drain_delay: float = option(
        0.0,
        Duration(),
        "After the signal to stop, go on accepting for this long while /readyz says 503.",
        "A load balancer needs a moment to notice that the server is about to stop.",
    )
