"""What can be listened on, how it is written, and how addresses are written."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

_MOST_PATH_BYTES = 107  # unix(7): sun_path has 108, and one of them ends the path
_UNIX_MODE = 0o660
ALLOWED_ENDPOINTS = "tcp://HOST:PORT, tls://HOST:PORT, unix:/PATH, fd:NUMBER or systemd:NAME"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A host and a port, written as `tcp://host:port`, with an IPv6 address in brackets.

    Parameters
    ----------
    host:
        An IPv4 or IPv6 address, or a name, which stands for all of its addresses.
    port:
        The port; 0 stands for a free one.
    proxy:
        Whether each connection must begin with a PROXY header; written as `?proxy=require`.
    tls:
        Whether connections speak TLS; written as `tls://host:port`.

    """

    host: str
    port: int
    proxy: bool = False
    tls: bool = False

    def __str__(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}://{self.address}" + _query(self.proxy)

    @property
    def address(self) -> str:
        """The host and the port as people write them, such as `127.0.0.1:9000` or `[::1]:9000`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Return the endpoint that a TCP socket is bound to.

        Raises
        ------
        OSError
            The socket is closed.

        """
        host, port = sock.getsockname()[:2]
        return cls(host, port)


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A unix socket, written as `unix:/path` or `unix:/path?mode=0600`.

    Parameters
    ----------
    path:
        The absolute path of its file.
    mode:
        The permissions of the file.
    proxy:
        As for TCP.

    """

    path: str
    mode: int = _UNIX_MODE
    proxy: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}" + _query(self.proxy, () if self.mode == _UNIX_MODE else (f"mode={self.mode:04o}",))

    @property
    def address(self) -> str:
        """The path."""
        return self.path


@dataclass(frozen=True, slots=True)
class InheritedEndpoint:
    """Listening sockets that this process inherits from its parent, written as `fd:3` or `systemd:NAME`.

    Parameters
    ----------
    name:
        The number of a descriptor, or a name that systemd has given to one or more (sd_listen_fds(3)).
    by_systemd:
        Whether it is such a name.
    proxy:
        As for TCP.

    """

    name: str
    by_systemd: bool
    proxy: bool = False

    def __str__(self) -> str:
        return f"{self.address}{_query(self.proxy)}"

    @property
    def address(self) -> str:
        """The descriptor or the name, since only the open socket knows its address."""
        return f"{'systemd' if self.by_systemd else 'fd'}:{self.name}"


Endpoint: TypeAlias = TcpEndpoint | UnixEndpoint | InheritedEndpoint


def _query(proxy: bool, others: tuple[str, ...] = ()) -> str:
    parts = (*others, "proxy=require") if proxy else others
    return f"?{'&'.join(parts)}" if parts else ""


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that a text such as `tcp://0.0.0.0:9000` or `unix:/run/echo.sock?mode=0660` stands for.

    Raises
    ------
    ValueError
        The text stands for no endpoint. The message completes the sentence "must be ...".

    """
    head, _, query = text.partition("?")
    options = query.split("&")
    asked = [option for option in options if option.partition("=")[0] == "proxy"]
    if not asked:
        return _parse(text)
    if asked != ["proxy=require"]:
        raise ValueError("an endpoint with ?proxy=require, or without it")
    others = "&".join(option for option in options if option not in asked)
    return replace(_parse(f"{head}?{others}" if others else head), proxy=True)


def _parse(text: str) -> Endpoint:
    scheme, _, rest = text.partition(":")
    if text.isprintable():  # `urlsplit` would drop some control characters
        if scheme in ("tcp", "tls"):
            return _parse_tcp(text, scheme)
        if scheme == "unix":
            return _parse_unix(rest)
        if scheme == "fd" and re.fullmatch(r"\d{1,9}", rest, re.ASCII):
            return InheritedEndpoint(str(int(rest)), by_systemd=False)
        if scheme == "systemd" and rest:
            return InheritedEndpoint(rest, by_systemd=True)
    raise ValueError(ALLOWED_ENDPOINTS)


def _parse_tcp(text: str, scheme: str) -> TcpEndpoint:
    from urllib.parse import urlsplit  # most servers have only a host and a port, and don't load it

    problem = f"{scheme}://HOST:PORT with a port from 0 to 65535, and an IPv6 address in brackets"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(problem) from None
    if not host or port is None or parts.path or "?" in text or "#" in text or "@" in text:
        raise ValueError(problem)
    return TcpEndpoint(host, port, tls=scheme == "tls")


def _parse_unix(rest: str) -> UnixEndpoint:
    path, question, query = rest.partition("?")
    mode = re.fullmatch(r"mode=(0?[0-7]{3})", query, re.ASCII)
    if question and mode is None:
        raise ValueError("unix:/PATH?mode=0660, with the permissions in octal")
    if path.startswith("@"):
        raise ValueError("unix:/PATH; an abstract name has no permissions, so any local user could connect")
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError("unix:/PATH with the absolute path of a file")
    if len(os.fsencode(path)) > _MOST_PATH_BYTES:
        raise ValueError(f"unix:/PATH with a path of at most {_MOST_PATH_BYTES} bytes")
    return UnixEndpoint(path, int(mode[1], 8) if mode else _UNIX_MODE)


def format_address(address: object) -> str:
    """Return an address as people write it.

    Parameters
    ----------
    address:
        What `accept` returned: a tuple of IPv4 or IPv6; the path of a unix socket, or the bytes of an abstract name;
        empty for a unix socket without a name (unix(7)).

    """
    if isinstance(address, tuple) and len(address) >= 2:
        return TcpEndpoint(*address[:2]).address
    if not address:
        return "unnamed"
    if isinstance(address, bytes):
        # As ss(8) writes abstract names, which begin with a zero byte.
        return os.fsdecode(address).replace("\0", "@")
    return str(address)
