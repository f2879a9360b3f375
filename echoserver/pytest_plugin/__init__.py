"""The pytest plugin: TCP servers as fixtures, and a check that a test closes its sockets. docs/pytest.md is the guide.

pytest loads this module in every run of an environment in which echoserver is installed. So it imports nothing but
pytest, and everything else is loaded when a fixture or the check is first used.
"""

from __future__ import annotations

import pytest

# Not imported from `typing`: see above.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echoserver.pytest_plugin.factory import TcpServerFactory
    from echoserver.pytest_plugin.server import TcpConnection, TcpServer
    from echoserver.pytest_plugin.warned import TcpServerWarning, UnclosedSocketWarning

__all__ = ["TcpConnection", "TcpServer", "TcpServerFactory", "TcpServerWarning", "UnclosedSocketWarning"]

_HOMES = {
    "TcpConnection": "echoserver.pytest_plugin.server",
    "TcpServer": "echoserver.pytest_plugin.server",
    "TcpServerFactory": "echoserver.pytest_plugin.factory",
    "TcpServerWarning": "echoserver.pytest_plugin.warned",
    "UnclosedSocketWarning": "echoserver.pytest_plugin.warned",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


# -- fixtures


@pytest.fixture
def tcp_server(request: pytest.FixtureRequest) -> Iterator[TcpServerFactory]:
    """Start TCP servers that end with the test.

    Call it for each, as in `server = tcp_server("upper", tls=True)`. The handler is a name such as "echo", a function
    from bytes to bytes, or a subclass of `echoserver.Handler`.
    """
    from echoserver.pytest_plugin.factory import TcpServerFactory
    from echoserver.pytest_plugin.warned import TcpServerWarning

    factory = TcpServerFactory()
    yield factory
    if problems := factory.close():
        request.node.warn(TcpServerWarning("\n".join(problems)))


@pytest.fixture
def echo_server(tcp_server: TcpServerFactory) -> TcpServer:
    """Return a TCP server that sends back what it receives, on a free port of 127.0.0.1."""
    return tcp_server()


# -- the check for leaks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the configuration file."""
    parser.addini("tcp_leaks", "fail each test that leaves a TCP socket of its own open", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "tcp_leaks(enabled=True): fail the test if it leaves a TCP socket of its own open (echoserver)"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Watch the sockets of a test that is checked, before its fixtures are set up."""
    marker = item.get_closest_marker("tcp_leaks")
    if marker is None:
        enabled = item.config.getini("tcp_leaks")
    else:
        enabled = marker.args[0] if marker.args else marker.kwargs.get("enabled", True)
    if enabled:
        from echoserver.pytest_plugin.leaks import leak_check

        leak_check(item.config).start()
