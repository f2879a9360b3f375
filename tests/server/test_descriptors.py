"""The limit of open files, on a pretended system and on this one."""

from __future__ import annotations

import re
from resource import RLIM_INFINITY, RLIMIT_NOFILE, prlimit

import pytest

from echoserver.errors import ConfigError
from echoserver.process import descriptors
from echoserver.process.descriptors import IN_RESERVE, make_room
from support import Program, command


class Limits:
    """The limits of a pretended process; `most` is where the system refuses, whatever the hard limit says."""

    def __init__(self, soft: int, hard: int, *, most: int | None = None) -> None:
        self.soft, self.hard = soft, hard
        self._most = most if most is not None else hard

    def getrlimit(self, _which: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, _which: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        assert hard == self.hard, "only the soft limit is ours to change"
        if self._most != RLIM_INFINITY and soft > self._most:
            raise ValueError("current limit exceeds maximum limit")
        self.soft = soft


@pytest.fixture
def pretend(monkeypatch):
    def install(*args, **options) -> Limits:
        limits = Limits(*args, **options)
        monkeypatch.setattr(descriptors.resource, "getrlimit", limits.getrlimit)
        monkeypatch.setattr(descriptors.resource, "setrlimit", limits.setrlimit)
        return limits

    return install


@pytest.mark.parametrize("soft", [100 + IN_RESERVE, 5000, RLIM_INFINITY])
def test_a_limit_that_is_enough_stays(pretend, soft):
    limits = pretend(soft, RLIM_INFINITY)
    make_room(100)
    assert limits.soft == soft


@pytest.mark.parametrize("hard", [1000 + IN_RESERVE, 5000, RLIM_INFINITY])
def test_a_limit_that_is_too_low_is_raised_as_far_as_needed(pretend, hard):
    limits = pretend(64, hard)
    make_room(1000)
    assert limits.soft == 1000 + IN_RESERVE


@pytest.mark.parametrize(
    ("limits", "most", "files"),
    [(Limits(64, 4096), 4064, 4096), (Limits(256, RLIM_INFINITY, most=10240), 224, 256), (Limits(16, 16), 0, 16)],
)
def test_more_than_the_limit_allows_is_refused(pretend, limits, most, files):
    pretend(limits.soft, limits.hard, most=limits._most)
    with pytest.raises(ConfigError) as refusal:
        make_room(100_000)
    assert str(refusal.value) == (
        f"max_connections: 100000 is refused: must be at most {most}, since this process may open {files} files; "
        "lower it, or raise the limit (ulimit -n)"
    )
    assert refusal.value.key == "max_connections"


def serve_with_limit(limit: str, *options: object) -> Program:
    shell = f'ulimit -n {limit} && exec "$@"'
    return Program(arguments=["/bin/sh", "-c", shell, "sh", *command("serve", "--port", 0, *options)])


def test_the_command_refuses_more_connections_than_descriptors():
    with serve_with_limit("200", "--max-connections", 1000) as program:
        assert program.finish() == 2
    (line,) = program.lines
    assert re.match(r"echoserver: --max-connections: 1000 is refused: must be at most 168, since .* 200 files; ", line)


def test_the_command_raises_the_soft_limit():
    # 1024 connections and the reserve, where the shell left it at less.
    with serve_with_limit("-S 500", "--log-format", "json") as program:
        program.wait_for("listening")
        soft, _hard = prlimit(program.process.pid, RLIMIT_NOFILE)
        assert soft == 1024 + IN_RESERVE
