"""Who may ask the admin endpoint for what.

Probes, metrics and the version are open to whoever can connect. The rest, `/api`, shows who is connected and changes
things. It is open on a unix socket, whose file has permissions, and on a loopback address if there is no token. With a
token file, a request over TCP must have the token. On any other address there must be a token.
"""

from __future__ import annotations

import hmac
import os
import stat
from ipaddress import ip_address
from urllib.parse import urlsplit

from echoserver.admin.requests import RefusedError, Request
from echoserver.errors import ConfigError
from echoserver.net.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

SAFE_METHODS = ("GET", "HEAD")
_LEAST_TOKEN, _MOST_TOKEN = 16, 4096


class Guard:
    """Refuses requests.

    Parameters
    ----------
    endpoint:
        Where the admin endpoint listens.
    token:
        What a request over TCP must have; empty for none.

    Raises
    ------
    ConfigError
        The endpoint is open to other machines, and there is no token.

    """

    def __init__(self, endpoint: Endpoint, token: str) -> None:
        self._is_unix = isinstance(endpoint, UnixEndpoint)
        self._token = token.encode()
        if not self._is_unix and not token and not (isinstance(endpoint, TcpEndpoint) and is_loopback(endpoint.host)):
            problem = f"{endpoint} is refused: other machines can connect; give admin_token_file, or a loopback address"
            raise ConfigError(problem, key="admin")

    def check(self, request: Request) -> None:
        """Refuse a request for something that isn't open to all.

        Raises
        ------
        RefusedError
            It lacks the token, or a web page of another site has made it.

        """
        if self._is_unix:
            return
        if self._token:
            self._check_token(request)
        else:
            check_host(request.headers.get("host", ""))
        if request.method not in SAFE_METHODS:
            check_origin(request)

    def _check_token(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            problem = "the token is missing or wrong: Authorization: Bearer TOKEN"
            raise RefusedError(401, problem, WWW_Authenticate='Bearer realm="echoserver"')


def check_host(host: str) -> None:
    """Refuse a request that names another host.

    A web page can have its own name resolve to 127.0.0.1 (DNS rebinding), and then is of the same origin for the
    browser. But it can't change the name that the browser puts into this header.
    """
    name = urlsplit(f"//{host}").hostname if "@" not in host else None
    if name != "localhost" and not (name and is_loopback(name)):
        raise RefusedError(403, "Host must be localhost or a loopback address")


def check_origin(request: Request) -> None:
    """Refuse what a web page of another site has a browser send, as Go's `CrossOriginProtection` does.

    Browsers say where a request comes from: by Sec-Fetch-Site, or older ones by Origin. What has neither is no browser.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise RefusedError(403, "a page of another site may not do this")
        return
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise RefusedError(403, "a page of another site may not do this")


def is_loopback(host: str) -> bool:
    """Return whether a text is `localhost` or a loopback address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: str) -> str:
    """Return the token in a file that nobody else can read; empty for no file.

    Raises
    ------
    ConfigError
        It can't be read, others can read it, or it has no token.

    """
    if not path:
        return ""
    try:
        with open(path, encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{path!r} is refused: others can read it; chmod 600", key="admin_token_file")
            token = file.read(_MOST_TOKEN + 1).strip()
    except OSError as error:
        problem = f"{path!r} is refused: {os.strerror(error.errno or 0)}"
        raise ConfigError(problem, key="admin_token_file") from None
    except UnicodeDecodeError:
        token = ""
    if not _LEAST_TOKEN <= len(token) <= _MOST_TOKEN or not token.isprintable() or " " in token:
        problem = f"{path!r} is refused: must have a token of at least {_LEAST_TOKEN} printable ASCII characters"
        raise ConfigError(problem, key="admin_token_file")
    return token
