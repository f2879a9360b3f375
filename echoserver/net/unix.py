"""Unix sockets: a file that appears with its permissions and is removed with its server, and who connects to it."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys

from echoserver.errors import BindError
from echoserver.net.endpoint import UnixEndpoint
from echoserver.net.options import prepare

_TRIES = 8
_PEERCRED = socket.SO_PEERCRED if sys.platform == "linux" else -1
_LISTENS = (0, errno.EAGAIN, errno.EINPROGRESS)  # what a connect returns; EAGAIN if too many peers wait already
_ANOTHER_DIRECTORY = "; choose a directory in which this user may create files"
_REMEDIES = {
    errno.ENOENT: "; create the directory first, or choose another path",
    errno.EACCES: _ANOTHER_DIRECTORY,
    errno.EPERM: _ANOTHER_DIRECTORY,
    errno.EROFS: _ANOTHER_DIRECTORY,
}


def listen_unix(endpoint: UnixEndpoint, backlog: int) -> socket.socket:
    """Listen on a unix socket (unix(7)).

    The socket is bound under a temporary name in the same directory, and renamed when it has its mode and listens. So
    the file never has other permissions and never refuses a peer, and it replaces what a dead server left behind.

    Parameters
    ----------
    endpoint:
        The path and the mode.
    backlog:
        How many peers the kernel keeps waiting (listen(2)).

    Raises
    ------
    BindError
        Another server listens there, the path is not that of a socket, or it cannot be bound.

    """
    _refuse_if_in_use(endpoint)
    for tries_left in reversed(range(_TRIES)):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(listener, endpoint, backlog)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or not tries_left:  # the temporary name was taken: try another one
                raise _error(endpoint, error.errno or 0) from error
        except BaseException:
            listener.close()
            raise
        else:
            return listener
    raise AssertionError("the last try returns or raises")


def _bind(listener: socket.socket, endpoint: UnixEndpoint, backlog: int) -> None:
    directory, name = os.path.split(endpoint.path)
    temporary = os.path.join(directory, _temporary_name(name))
    listener.bind(temporary)
    try:
        os.chmod(temporary, endpoint.mode)
        listener.listen(backlog)
        prepare(listener)
        os.rename(temporary, endpoint.path)
    except BaseException:
        os.unlink(temporary)
        raise


def _temporary_name(name: str) -> str:
    """Return a random name that differs from `name` and is no longer, so that its path is not too long either."""
    while True:
        chosen = os.urandom(4).hex()[: len(os.fsencode(name))]
        if chosen != name:
            return chosen


def identity(path: str) -> tuple[int, int] | None:
    """Return the identity of a file, which a later file at the same path does not share; `None` if there is none.

    The inode is not reused while a socket is bound to it.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, its: tuple[int, int] | None) -> None:
    """Remove the file of a unix socket, unless another server has replaced it."""
    if its is not None and identity(path) == its:
        try:
            os.unlink(path)
        except OSError:  # it is gone, or may no longer be removed: a server that starts later replaces it
            pass


def _refuse_if_in_use(endpoint: UnixEndpoint) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(endpoint.path).st_mode):
            raise _refusal(endpoint, "the path exists and is not a socket; remove it, or choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _error(endpoint, error.errno or 0) from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(endpoint.path)
    if code in _LISTENS:
        raise _refusal(endpoint, "another program listens there: stop it (ss -lxp shows which), or choose another path")
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise _error(endpoint, code)


def _error(endpoint: UnixEndpoint, number: int) -> BindError:
    return _refusal(endpoint, os.strerror(number) + _REMEDIES.get(number, ""))


def _refusal(endpoint: UnixEndpoint, problem: str) -> BindError:
    return BindError(f"cannot listen on {endpoint}: {problem}")


def welcome(sock: socket.socket) -> str:
    """Prepare an accepted unix socket, and return who has connected, such as `pid=7,uid=1000` (SO_PEERCRED, unix(7)).

    Urgent data will be received in its place, as on TCP sockets, which inherit that from their listener.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, _PEERCRED, 12))
    except OSError:  # not on this platform
        return "unnamed"
    return f"pid={pid},uid={uid}"
