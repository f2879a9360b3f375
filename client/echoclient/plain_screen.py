"""The prompt with only the standard library: for a dumb terminal, or without the extra `client`."""

from __future__ import annotations

import io
import itertools
import readline  # input() uses it from now on
import sys
import threading
from typing import TYPE_CHECKING

from echoclient.commands import complete
from echoclient.terminal import TypeAhead

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.history import HistoryFile

PROMPT = "> "


class PlainScreen:
    """Reads lines with input() and readline(3), and shows received lines as they arrive.

    Text that arrives while the user types is shown on lines of its own, with the prompt again below it. What was typed
    is kept but not shown again, because only readline knows it, and can't be asked from another thread.
    """

    def __init__(self, history: HistoryFile) -> None:
        self._history = history
        # Guards the terminal's output and `_prompting`: whether the prompt is shown.
        self._lock = threading.Lock()
        self._prompting = False
        self._type_ahead = TypeAhead()
        # Input must become the same bytes again; output may have characters that the terminal's encoding lacks.
        for stream, encoding, errors in (
            (sys.stdin, "utf-8", "surrogateescape"),
            (sys.stdout, None, "backslashreplace"),
        ):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding=encoding, errors=errors)
        _set_up_readline(history.entries)

    def __enter__(self) -> PlainScreen:
        self._type_ahead.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._type_ahead.__exit__()

    def write(self, text: str) -> None:
        """Show whole lines, from any thread."""
        with self._lock:
            sys.stdout.write(f"\n{text}{PROMPT}" if self._prompting else text)
            sys.stdout.flush()

    def notice(self, text: str) -> None:
        """Show a line of the client's own, from any thread."""
        self.write(f"* {text}\n")

    def read_line(self, status: Callable[[], list[str]]) -> str:
        """Ask for a line.

        Raises:
            EOFError: Ctrl-D.
            KeyboardInterrupt: Ctrl-C; what was typed is discarded.
        """
        with self._lock:
            self._prompting = True
        self._type_ahead.echo(on=True)  # readline(3) echoes only if the terminal does
        try:
            line = input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print()
            raise
        finally:
            self._type_ahead.echo(on=False)
            with self._lock:
                self._prompting = False
        self._history.add(line)
        return line


def _set_up_readline(entries: list[str]) -> None:
    for entry in entries:
        readline.add_history(entry)
    # The whole line is one word to complete: commands begin with a slash, and file names may have any character.
    readline.set_completer_delims("")
    readline.set_completer(lambda text, index: next(itertools.islice(complete(text), index, None), None))
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
