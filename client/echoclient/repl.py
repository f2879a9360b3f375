"""The prompt: reads lines, carries them out, and owns the conversation behind it."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Protocol

from echoclient import commands
from echoclient.commands import Action, Complaint, Send, SendFile, SetNewline, SetView, Simple, Time
from echoclient.conversation import Conversation
from echoclient.durations import format_duration
from echoclient.errors import ClientError
from echoclient.history import HistoryFile
from echoclient.session import CHUNK, Session, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Seconds that the prompt waits for the reply after a line, so that the reply is shown first. A longer wait would be
# noticeable.
_SETTLE = 0.1


class Screen(Protocol):
    """A terminal, as a context: reads lines and shows lines; `write` and `notice` may be called from any thread."""

    def __enter__(self) -> Screen:
        """Prepare the terminal."""

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""

    def write(self, text: str) -> None:
        """Show whole lines."""

    def notice(self, text: str) -> None:
        """Show one line that is the client's and not the server's."""

    def read_line(self, status: Callable[[], list[str]]) -> str:
        """Read a line; Ctrl-D raises EOFError, and Ctrl-C raises KeyboardInterrupt.

        Args:
            status: returns what to show below the prompt, the most important first; called in the main thread.
        """


def run_prompt(session: Session, *, timeout: float) -> None:
    """Talk to a server from a terminal until the user quits.

    Args:
        session: a fresh connection.
        timeout: seconds for the reply to ``/time``, for reconnecting, and for the server to finish; 0 is no limit.
    """
    history = HistoryFile()
    with open_screen(history) as screen:
        if history.trouble:
            screen.notice(history.trouble)
        Repl(screen, session, timeout=timeout).run()


def open_screen(history: HistoryFile) -> Screen:
    """Choose the front end: prompt_toolkit's if the terminal allows it and it is installed, otherwise the plain one."""
    if os.environ.get("TERM", "dumb") not in ("dumb", "unknown", ""):
        try:
            from echoclient.toolkit_screen import ToolkitScreen
        except ImportError:  # the extra `client` is not installed
            pass
        else:
            return ToolkitScreen(history)
    from echoclient.plain_screen import PlainScreen

    return PlainScreen(history)


class Repl:
    """The loop that reads lines and carries them out; it belongs to the main thread."""

    def __init__(self, screen: Screen, session: Session, *, timeout: float) -> None:
        self._screen = screen
        self._target = session.target
        self._timeout = timeout
        self._newline = b"\n"
        self._as_hex = False
        self._conversation = self._converse(session)

    def _converse(self, session: Session) -> Conversation:
        how = f" ({session.secured})" if session.secured else ""
        self._screen.notice(f"connected to {session.peer}{how}; /help lists the commands, Ctrl-D quits")
        return Conversation(session, self._screen.write, self._screen.notice, as_hex=self._as_hex)

    def run(self) -> None:
        """Read lines and carry them out until Ctrl-D or ``/quit``."""
        try:
            self._loop()
        finally:
            self._leave()

    def _loop(self) -> None:
        while True:
            busy = False
            try:
                text = self._screen.read_line(self._conversation.status)
                busy = True
                # Pasted text may have several lines; each is treated as if it had been typed.
                for line in text.split("\n"):
                    action = commands.parse(line, self._newline)
                    if action == Simple("quit"):
                        return
                    self._do(action)
            except EOFError:
                return
            except KeyboardInterrupt:
                if busy:
                    self._screen.notice(f"interrupted; {self._conversation.session.traffic()}")

    def _do(self, action: Action) -> None:
        conversation = self._conversation
        match action:
            case Complaint(text):
                self._screen.notice(text)
            case SetView(as_hex):
                self._as_hex = as_hex
                conversation.set_view(as_hex=as_hex)
            case SetNewline(on):
                self._newline = b"\n" if on else b""
            case Simple("help"):
                self._screen.write(f"{commands.help_text()}\n")
            case Simple("stats"):
                self._screen.notice(", ".join(conversation.status()))
            case Simple("reconnect"):
                self._reconnect()
            case _ if conversation.state != "open":
                self._screen.notice(f"the connection is {conversation.state}: /reconnect opens a new one")
            case Simple("halfclose"):
                conversation.half_close()
                conversation.settle(_SETTLE)
            case Send(data, times):
                self._send(in_chunks(data, times))
            case SendFile(path):
                self._send_file(path)
            case Time(data):
                self._time(data)

    def _send(self, pieces: Iterator[bytes]) -> None:
        try:
            self._conversation.send(pieces)
        except ClientError:
            return  # the conversation has reported it
        self._conversation.settle(_SETTLE)

    def _send_file(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self._send(iter(lambda: file.read(CHUNK), b""))
        except OSError as error:
            self._screen.notice(f"{path}: {(error.strerror or str(error)).lower()}")

    def _time(self, data: bytes) -> None:
        if not data:
            self._screen.notice("/time: nothing to send: write a text after it")
            return
        try:
            report = self._conversation.time(data, self._timeout or None)
        except ClientError:
            return  # the conversation has reported it
        self._conversation.settle(_SETTLE)
        self._screen.notice(report)

    def _reconnect(self) -> None:
        self._conversation.close()
        try:
            session = connect(self._target, timeout=self._timeout)
        except ClientError as error:
            self._screen.notice(str(error))
        else:
            self._conversation = self._converse(session)

    def _leave(self) -> None:
        """Let the server finish, within the time limit and until Ctrl-C."""
        conversation = self._conversation
        try:
            if not conversation.finish(_SETTLE):
                limit = f"up to {format_duration(self._timeout)} " if self._timeout else ""
                self._screen.notice(f"waiting {limit}for the server to finish; Ctrl-C quits at once")
                if not conversation.finish(self._timeout or None):
                    self._screen.notice("the server did not finish")
        except KeyboardInterrupt:
            self._screen.notice("interrupted")
        finally:
            conversation.close()
        self._screen.notice(conversation.session.traffic())


def in_chunks(data: bytes, times: int) -> Iterator[bytes]:
    """Yield ``data`` repeated, in pieces of about one send(2) each: a million lines don't need a million calls."""
    if data:
        per_piece = max(1, CHUNK // len(data))
        yield from itertools.repeat(data * min(per_piece, times), times // per_piece)
        if rest := times % per_piece:
            yield data * rest
