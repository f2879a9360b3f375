"""The check for leaks: a test that leaves a TCP socket of its own open fails.

The hooks below are registered when the first test is checked. What is open once the test has returned and garbage has
been collected must be closed by the time its fixtures have been torn down, and not by the garbage collector.
"""

from __future__ import annotations

import gc
import linecache
import warnings
from collections.abc import Iterator

import pytest

from echoserver.pytest_plugin.sockets import Place, SocketWatch, WatchedSocket, own_places
from echoserver.pytest_plugin.warned import UnclosedSocketWarning

_NAME = "echoserver-leaks"
_MOST_PLACES = 3


def leak_check(config: pytest.Config) -> LeakCheck:
    """Return the check of this run of pytest; made when it is first wanted."""
    found = config.pluginmanager.get_plugin(_NAME)
    if isinstance(found, LeakCheck):
        return found
    check = LeakCheck()
    config.pluginmanager.register(check, _NAME)
    return check


class LeakCheck:
    """Watches the sockets of one test after the other."""

    def __init__(self) -> None:
        self._watch: SocketWatch | None = None
        self._left: dict[WatchedSocket, str] = {}  # what was open when the test had returned, as it was then

    def start(self) -> None:
        """Begin to watch, before the fixtures of a test are set up."""
        self._stop()  # a plugin that runs failed tests again may not have said that the test is over
        self._watch = SocketWatch()
        self._watch.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        """Leave out what a fixture makes that outlives the test, and what the threads make that it starts."""
        watch = self._watch
        if watch is None or watch.exempt or fixturedef.scope == "function":
            yield
            return
        watch.exempt = True
        yield
        watch.exempt = False
        watch.exempt_threads()

    # Not called for a test that has failed or was skipped: the exception keeps its variables, and so its sockets.
    @pytest.hookimpl(trylast=True)
    def pytest_runtest_call(self) -> None:
        """Note what the test has left open."""
        if self._watch is not None:
            gc.collect()
            self._left = {made: made.describe() for made in self._watch.sockets() if made.is_open}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Fail the test, now that its fixtures have been torn down."""
        if self._watch is None:
            return
        gc.collect()
        made = self._watch.sockets()
        leaked = [(one, self._left[one]) for one in made if one in self._left and (one.is_open or one.collected)]
        collected = [one for one in made if one not in self._left and one.collected]
        self._stop()
        if leaked:
            count = "1 TCP socket" if len(leaked) == 1 else f"{len(leaked)} TCP sockets"
            listed = "\n".join(f"  {text}, made at\n{_shown(one.made_at)}" for one, text in leaked)
            pytest.fail(f"{item.name} left {count} open:\n{listed}", pytrace=False)
        for one in collected:
            _warn(item, one)

    def pytest_runtest_logfinish(self) -> None:
        """End, also for a test whose fixtures have failed."""
        self._stop()

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._watch = None
        self._left = {}


def _warn(item: pytest.Item, collected: WatchedSocket) -> None:
    text = f"{item.name} left a TCP socket to the garbage collector, made at\n{_shown(collected.made_at)}"
    warning = UnclosedSocketWarning(text)
    own = own_places(collected.made_at)
    if own:
        warnings.warn_explicit(warning, None, own[0].filename, own[0].line)
    else:  # an event loop made it, in a task of its own
        item.warn(warning)


def _shown(places: list[Place]) -> str:
    lines = []
    for place in (own_places(places) or places)[:_MOST_PLACES]:
        lines.append(f"    {place.filename}:{place.line} in {place.function}")
        if text := linecache.getline(place.filename, place.line).strip():
            lines.append(f"      {text}")
    return "\n".join(lines)
