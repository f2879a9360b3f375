"""Listening on a unix socket, whose file appears with its permissions and goes with its server."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
import struct

from echoserver.errors import BindError
from echoserver.net.endpoint import UnixEndpoint
from echoserver.net.options import prepare

_TRIES = 8


def listen_unix(endpoint: UnixEndpoint, backlog: int) -> socket.socket:
    """Listen on a unix socket (unix(7)).

    The file is bound under another name in the same directory, gets its mode, and is then renamed: a peer never finds
    it with other permissions, or before it can connect. A file that a dead server left behind is replaced that way too.

    Parameters
    ----------
    endpoint:
        The path and the mode.
    backlog:
        How many peers the kernel keeps waiting (listen(2)).

    Raises
    ------
    BindError
        Another server listens there, the path belongs to something else, or it cannot be made.

    """
    _refuse_if_in_use(endpoint)
    for tries_left in reversed(range(_TRIES)):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(listener, endpoint, backlog)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or not tries_left:  # the other name was taken: choose another one
                raise _error(endpoint, os.strerror(error.errno or 0)) from error
        else:
            return listener
    raise AssertionError("the last try returns or raises")


def _bind(listener: socket.socket, endpoint: UnixEndpoint, backlog: int) -> None:
    directory, name = os.path.split(endpoint.path)
    # No longer than the name itself, so that it is no longer than a path may be.
    other = secrets.token_hex(4)[: len(os.fsencode(name))]
    bound = os.path.join(directory, other)
    listener.bind(bound)
    try:
        os.chmod(bound, endpoint.mode)
        listener.listen(backlog)
        prepare(listener)
        os.rename(bound, endpoint.path)
    except BaseException:
        os.unlink(bound)
        raise


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells one file from another that has the same path later; `None` if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, its: tuple[int, int] | None) -> None:
    """Remove the file of a unix socket, unless another server has put its own there."""
    if its is not None and identity(path) == its:
        try:
            os.unlink(path)
        except OSError:  # it is gone, or the directory is read-only by now: nothing listens there in any case
            pass


def _refuse_if_in_use(endpoint: UnixEndpoint) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(endpoint.path).st_mode):
            raise _error(endpoint, "the path exists and is not a socket; remove it, or choose another one")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _error(endpoint, os.strerror(error.errno or 0)) from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(endpoint.path)
    if code != errno.ECONNREFUSED:
        problem = "another program listens there: stop it, or choose another path"
        known = (0, errno.EAGAIN, errno.EINPROGRESS)
        raise _error(endpoint, problem if code in known else os.strerror(code))


def _error(endpoint: UnixEndpoint, problem: str) -> BindError:
    return BindError(f"cannot listen on {endpoint}: {problem}")


def peer_process(sock: socket.socket) -> str:
    """Return which process is at the other end of a unix socket, as ss(8) writes it (SO_PEERCRED, unix(7))."""
    if not hasattr(socket, "SO_PEERCRED"):
        return "unnamed"
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"pid={pid},uid={uid}"
