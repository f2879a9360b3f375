"""A multithreaded TCP server with pluggable handlers; echo and others are built in.

>>> from echoserver import Server, ServerConfig
>>> with Server(ServerConfig(port=0, handler="upper")) as server:
...     host, port = server.address

pytest loads the plugin of this package, and warns where a program has loaded the package before: PYTEST_DONT_REWRITE.
"""

# Not imported from `typing`: this module runs before `__main__` handles signals, so it loads nothing.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from echoserver.config import ServerConfig
    from echoserver.handlers import Handler
    from echoserver.server import Server
    from echoserver.version import __version__

__all__ = ["Handler", "Server", "ServerConfig", "__version__"]

_HOMES = {
    "Handler": "echoserver.handlers",
    "Server": "echoserver.server",
    "ServerConfig": "echoserver.config",
    "__version__": "echoserver.version",
}


def __getattr__(name: str) -> object:
    # Loaded on first use (PEP 562): `echoserver healthcheck` runs every few seconds and needs none of them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
