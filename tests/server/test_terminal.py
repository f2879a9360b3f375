"""Whether the terminal has gone, for all that opening it may say."""

from __future__ import annotations

import errno
import os

import pytest

from echoserver.process import terminal
from echoserver.process.terminal import ControllingTerminal


@pytest.fixture
def opening(monkeypatch) -> list[int]:
    """What opening the terminal fails with, call by call; 0 succeeds."""
    errors: list[int] = []

    def open_terminal(path: str, _flags: int) -> int:
        assert path == "/dev/tty"
        if number := errors.pop(0):
            raise OSError(number, os.strerror(number))
        return 99

    monkeypatch.setattr(terminal.os, "open", open_terminal)
    monkeypatch.setattr(terminal.os, "close", lambda _: None)
    return errors


@pytest.mark.parametrize(
    ("later", "gone"),
    [(0, False), (errno.ENXIO, True), (errno.EIO, True), (errno.EMFILE, False), (errno.ENFILE, False)],
)
def test_a_terminal_has_gone_only_if_the_kernel_says_so(opening, later, gone):
    """A process that is short of descriptors is not to drain because it is told to reload."""
    opening += [0, later]
    assert ControllingTerminal().has_gone() is gone


def test_one_that_was_never_there_has_not_gone(opening):
    opening += [errno.ENXIO]
    assert not ControllingTerminal().has_gone()
