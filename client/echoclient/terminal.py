"""The terminal's settings between two prompts."""

from __future__ import annotations

import sys
import termios

_LOCAL_FLAGS = 3  # where tcgetattr(3) has c_lflag


class TypeAhead:
    """A context in which what is typed waits, without an echo, for the next prompt.

    Otherwise, the terminal would echo it among the replies, and swallow Ctrl-D. Ctrl-C remains a signal.
    """

    def __enter__(self) -> TypeAhead:
        self._before = termios.tcgetattr(sys.stdin)
        self._change(clear=termios.ICANON | termios.ECHO)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, self._before)

    def echo(self, *, on: bool) -> None:
        """Turn the terminal's echo on or off."""
        self._change(add=termios.ECHO if on else 0, clear=termios.ECHO)

    def _change(self, *, clear: int, add: int = 0) -> None:
        settings = termios.tcgetattr(sys.stdin)
        settings[_LOCAL_FLAGS] = settings[_LOCAL_FLAGS] & ~clear | add
        # TCSANOW, because the alternatives wait for the output or discard what was already typed.
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)
