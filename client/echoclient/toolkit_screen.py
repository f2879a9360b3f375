"""The prompt with prompt_toolkit: replies appear above it, a status line below it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import threading
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import History
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.styles import Style

from echoclient.commands import COMMANDS, complete
from echoclient.plain_screen import PROMPT
from echoclient.terminal import TypeAhead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from echoclient.history import HistoryFile

# Redrawing the prompt takes about a millisecond, so it happens at most this often, in seconds.
_BETWEEN_DRAWS = 0.05
# Characters that may be pending; beyond that, a thread that writes more has to wait.
_BACKLOG = 256 * 1024
_STYLE = Style.from_dict({"open": "ansigreen", "half-closed": "ansiyellow", "closed": "ansired"})
_YELLOW, _RESET = "\x1b[33m", "\x1b[0m"


class ToolkitScreen:
    """A prompt and the text above it.

    While the prompt is shown, the terminal belongs to its event loop, which runs in the main thread inside `read_line`:
    other threads put their text into `_pending`, and the loop draws it. At any other time they draw it themselves.
    """

    def __init__(self, history: HistoryFile) -> None:
        self._status: Callable[[], list[str]] = list  # belongs to the loop
        # Guards the next four, and the terminal while `_loop` is None; notified when `_pending` was drawn.
        self._drawn = threading.Condition()
        self._pending: list[str] = []
        self._size = 0  # characters pending
        self._scheduled = False  # the loop was told to draw them
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_draw = 0.0  # belongs to the loop
        self._type_ahead = TypeAhead()
        self._colour = not os.environ.get("NO_COLOR")
        if isinstance(sys.stdout, io.TextIOWrapper):  # its encoding may lack characters that are shown
            sys.stdout.reconfigure(errors="backslashreplace")
        self._prompt: PromptSession[str] = PromptSession(
            PROMPT,
            input=_RawInput(sys.stdin),
            history=_History(history),
            completer=_Completer(),
            # Reserves lines for the menu only when a menu is possible.
            complete_while_typing=Condition(lambda: get_app().current_buffer.text.startswith("/")),
            bottom_toolbar=self._toolbar,
            style=_STYLE,
        )

    def __enter__(self) -> ToolkitScreen:
        self._type_ahead.__enter__()  # prompt_toolkit restores these settings after each prompt
        return self

    def __exit__(self, *_: object) -> None:
        self._type_ahead.__exit__()

    def write(self, text: str) -> None:
        """Show whole lines, from any thread; waits while too much is pending."""
        with self._drawn:
            self._drawn.wait_for(lambda: self._loop is None or self._size < _BACKLOG)
            self._pending.append(text)
            self._size += len(text)
            if self._loop is None:
                self._draw()
            elif not self._scheduled:
                self._scheduled = True
                # The loop may have closed before `read_line` could reset `_loop`; then `read_line` draws this.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._draw_soon)

    def notice(self, text: str) -> None:
        """Show a line of the client's own, from any thread."""
        self.write(f"{_YELLOW}* {text}{_RESET}\n" if self._colour else f"* {text}\n")

    def read_line(self, status: Callable[[], list[str]]) -> str:
        """Read a line, with as much of the status below it as fits.

        Raises:
            EOFError: Ctrl-D on an empty line.
            KeyboardInterrupt: Ctrl-C; what was typed is discarded.
        """
        self._status = status
        try:
            return self._prompt.prompt(pre_run=self._take_over)
        finally:
            with self._drawn:
                self._loop = None
                self._draw()

    def _take_over(self) -> None:
        """Make the terminal belong to the loop; called in the loop before the prompt is drawn."""
        with self._drawn:
            self._loop = asyncio.get_running_loop()

    def _draw_soon(self) -> None:
        """Schedule drawing, in the loop, but not too soon after the last time; more may arrive until then."""
        loop = asyncio.get_running_loop()
        loop.call_at(self._last_draw + _BETWEEN_DRAWS, lambda: run_in_terminal(self._draw_above))

    def _draw_above(self) -> None:
        """Draw in the loop, while the prompt is erased."""
        with self._drawn:
            self._draw()
        self._last_draw = asyncio.get_running_loop().time()

    def _draw(self) -> None:
        """Write what is pending. The caller holds the lock."""
        sys.stdout.write("".join(self._pending))
        sys.stdout.flush()
        self._pending.clear()
        self._size = 0
        self._scheduled = False
        self._drawn.notify_all()

    def _toolbar(self) -> StyleAndTextTuples:
        """Return as much of the status as fits on one line, with the state in its colour."""
        columns = self._prompt.app.output.get_size().columns
        shown: StyleAndTextTuples = []
        for part in self._status():
            text = f"  {part}" if shown else f" {part}"
            columns -= len(text)
            if columns < 0:
                break
            shown.append((f"class:{part}" if not shown else "", text))
        return shown


class _RawInput(Vt100Input):
    """Input that stays in raw mode while text is written above the prompt.

    In cooked mode, the terminal would echo what is typed at that time in the middle of the text, and swallow Ctrl-D.
    """

    def cooked_mode(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class _History(History):
    """The history file, as prompt_toolkit wants it."""

    def __init__(self, file: HistoryFile) -> None:
        super().__init__()
        self._file = file

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._file.entries)

    def store_string(self, string: str) -> None:
        self._file.add(string)


class _Completer(Completer):
    """The completion of commands, as prompt_toolkit wants it."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        for whole in complete(line):
            command = COMMANDS.get(whole[1:].strip())
            yield Completion(whole, -len(line), display_meta=command.help if command else None)
