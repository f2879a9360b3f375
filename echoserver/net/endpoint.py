"""What can be listened on, how it is written, and how addresses are written."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from typing import Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

_MOST_PATH_BYTES = 107  # unix(7): sun_path has 108, and one of them ends the path
_UNIX_MODE = 0o660


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A host and a port, written as `tcp://host:port`, with an IPv6 address in brackets.

    Parameters
    ----------
    host:
        An IPv4 or IPv6 address, or a name, which stands for all of its addresses.
    port:
        The port; 0 stands for a free one.

    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://{self.address}"

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
        Where its file appears.
    mode:
        The permissions of that file.

    """

    path: str
    mode: int = _UNIX_MODE

    def __str__(self) -> str:
        return f"unix:{self.path}" + ("" if self.mode == _UNIX_MODE else f"?mode={self.mode:04o}")

    @property
    def address(self) -> str:
        """The path."""
        return self.path


@dataclass(frozen=True, slots=True)
class InheritedEndpoint:
    """A listening socket that whoever started this process has left open, written as `fd:3` or `systemd:NAME`.

    Parameters
    ----------
    name:
        The number of the descriptor, or the name that systemd knows it by (sd_listen_fds(3)).
    by_systemd:
        Whether it is such a name.

    """

    name: str
    by_systemd: bool

    def __str__(self) -> str:
        return f"{'systemd' if self.by_systemd else 'fd'}:{self.name}"

    @property
    def address(self) -> str:
        """The same as its text: where it is bound shows when it has been opened."""
        return str(self)


Endpoint: TypeAlias = TcpEndpoint | UnixEndpoint | InheritedEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that a text such as `tcp://0.0.0.0:9000` or `unix:/run/echo.sock?mode=0660` stands for.

    Raises
    ------
    ValueError
        It stands for none. The message says what is wrong.

    """
    scheme, _, rest = text.partition(":")
    if scheme == "tcp":
        return _parse_tcp(text)
    if scheme == "unix":
        return _parse_unix(rest)
    if scheme == "fd" and re.fullmatch(r"\d{1,9}", rest, re.ASCII):
        return InheritedEndpoint(str(int(rest)), by_systemd=False)
    if scheme == "systemd" and rest and rest.isprintable():
        return InheritedEndpoint(rest, by_systemd=True)
    raise ValueError("tcp://HOST:PORT, unix:/PATH, fd:NUMBER or systemd:NAME")


def _parse_tcp(text: str) -> TcpEndpoint:
    problem = "tcp://HOST:PORT with a port from 0 to 65535, an IPv6 address in brackets"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(problem) from None
    if not host or port is None or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(problem)
    return TcpEndpoint(host, port)


def _parse_unix(rest: str) -> UnixEndpoint:
    path, question, query = rest.partition("?")
    mode = _UNIX_MODE
    if question:
        ((key, value),) = parse_qsl(query) or [("", "")] if query.count("&") == 0 else [("", "")]
        if key != "mode" or not re.fullmatch(r"0?[0-7]{3}", value):
            raise ValueError("unix:/PATH?mode=0660, the mode in octal")
        mode = int(value, 8)
    if not path.startswith("/") or not path.isprintable():
        raise ValueError("unix:/PATH with an absolute path")
    if len(os.fsencode(path)) > _MOST_PATH_BYTES:
        raise ValueError(f"unix:/PATH with a path of at most {_MOST_PATH_BYTES} bytes")
    return UnixEndpoint(path, mode)


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
