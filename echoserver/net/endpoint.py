"""What can be listened on, and how addresses are written."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port; `str` writes them as `host:port`, with an IPv6 address in brackets.

    Parameters
    ----------
    host:
        An IPv4 or IPv6 address, or a name.
    port:
        The port; 0 stands for a free one.

    """

    host: str
    port: int

    def __str__(self) -> str:
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


def format_address(address: object) -> str:
    """Return an address as people write it.

    Parameters
    ----------
    address:
        What `accept` returned: a tuple of IPv4 or IPv6; the path of a unix socket, or the bytes of an abstract name;
        empty for a unix socket without a name (unix(7)).

    """
    if isinstance(address, tuple) and len(address) >= 2:
        return str(Endpoint(*address[:2]))
    if not address:
        return "unnamed"
    if isinstance(address, bytes):
        # As ss(8) writes abstract names, which begin with a zero byte.
        return os.fsdecode(address).replace("\0", "@")
    return str(address)
