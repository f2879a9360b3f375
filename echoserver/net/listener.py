"""Sockets that listen: bound here, or adopted from somebody else."""

from __future__ import annotations

import errno
import os
import socket

from echoserver.errors import BindError, ConfigError
from echoserver.net.endpoint import Endpoint, format_address

_SockAddr = tuple[str | int | bytes, ...]

_REMEDIES = {
    errno.EADDRINUSE: "another program listens there: stop it (ss -ltnp shows which), or choose another port",
    errno.EACCES: "not permitted: ports below 1024 need a privilege (CAP_NET_BIND_SERVICE); choose a higher one",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address; 0.0.0.0 is all of them",
}
# A name may resolve to an address that this machine doesn't have, such as ::1 in a container without IPv6.
_SKIPPED = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES_FOR_A_COMMON_PORT = 20


def listen(endpoint: Endpoint, backlog: int) -> list[socket.socket]:
    """Listen on every address of the endpoint's host, all with the same port.

    Parameters
    ----------
    endpoint:
        The host is an IPv4 or IPv6 address, or a name; `::` listens on all addresses of both families. The port 0
        takes a free one.
    backlog:
        How many peers the kernel keeps waiting (listen(2)).

    Returns
    -------
    list of socket.socket
        Listening, non-blocking sockets; at least one.

    Raises
    ------
    BindError
        There is no such host, or none of its addresses can be listened on.

    """
    port = endpoint.port
    addresses = _resolve(endpoint)
    for tries_left in reversed(range(_TRIES_FOR_A_COMMON_PORT)):
        try:
            return _listen_on_all(addresses, port, backlog)
        except _PortTakenError as taken:
            # The kernel chose a port that is free on the first address but not on the second: let it choose another.
            if port or not tries_left:
                raise taken.error from None
    raise AssertionError("the last try returns or raises")


def adopt(sock: socket.socket) -> socket.socket:
    """Prepare a listening socket that somebody else bound, and return it.

    It becomes non-blocking. Where it is TCP, what it accepts answers without delay (TCP_NODELAY) and receives urgent
    data in its place (SO_OOBINLINE). Other processes may listen on it too, so it is never shut down.

    Raises
    ------
    ConfigError
        It is closed, is no stream socket, doesn't listen, or is a TLS socket: its `accept` waits for the handshake.

    """
    number = sock.fileno()
    try:
        # The kernel's word, since Python's is only what the caller said when making the object.
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
            raise _refusal(number, "it is not a stream socket")
        if hasattr(socket, "SO_ACCEPTCONN") and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise _refusal(number, "it does not listen")
        if type(sock).accept is not socket.socket.accept:
            raise _refusal(number, "it wraps what it accepts, as TLS does")
        _set_options(sock)
    except OSError as error:
        problem = "it is closed" if error.errno == errno.EBADF else os.strerror(error.errno or 0)
        raise _refusal(number, problem) from None
    return sock


def _refusal(number: int, problem: str) -> ConfigError:
    return ConfigError(f"cannot accept on socket {number}: {problem}; must be a stream socket that listens")


class _PortTakenError(Exception):
    def __init__(self, error: BindError) -> None:
        self.error = error


def _resolve(endpoint: Endpoint) -> list[tuple[socket.AddressFamily, _SockAddr]]:
    host, port = endpoint.host, endpoint.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid host name"
        raise BindError(
            f"cannot listen on {host!r}: {reason}; give an address of this machine, or a name that has one"
        ) from None
    # In the resolver's order (RFC 6724).
    return list(dict.fromkeys((family, tuple(sockaddr)) for family, _, _, _, sockaddr in found))


def _listen_on_all(
    addresses: list[tuple[socket.AddressFamily, _SockAddr]], port: int, backlog: int
) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    skipped: BindError | None = None
    try:
        for family, (host, _, *rest) in addresses:
            try:
                listeners.append(_listen_on(family, (host, port, *rest), backlog))
            except OSError as error:
                refusal = BindError(f"cannot listen on {format_address((host, port))}: {_remedy(error)}")
                if error.errno in _SKIPPED:
                    skipped = refusal
                elif error.errno == errno.EADDRINUSE and listeners:
                    raise _PortTakenError(refusal) from error
                else:
                    raise refusal from error
            else:
                port = listeners[0].getsockname()[1]
        if not listeners:
            raise skipped or BindError("cannot listen: the host has no address")
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_on(family: socket.AddressFamily, sockaddr: _SockAddr, backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A server that has just stopped leaves connections in TIME_WAIT, which would block its port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` takes both families. A specific address must not, so that IPv4 can have the same port.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, sockaddr[0] != "::")
        listener.bind(sockaddr)
        listener.listen(backlog)
        _set_options(listener)
    except BaseException:
        listener.close()
        raise
    return listener


def _set_options(listener: socket.socket) -> None:
    # A peer that gives up after the kernel has reported it must not block the accept (accept(2), NOTES).
    listener.setblocking(False)
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        # Accepted sockets inherit both, which saves two calls for each. Replies are whole messages: waiting to fill a
        # segment would only delay them. And urgent data is answered in its place (RFC 6093).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0) or os.strerror(error.errno or 0)
