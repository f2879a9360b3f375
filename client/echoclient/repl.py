"""The prompt: reads a line, does what it says, and keeps the conversation that goes on behind it."""

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

# After a line, the prompt waits this long for the reply, so that the two stand together. Longer would be felt.
_SETTLE = 0.1


class Screen(Protocol):
    """A terminal: lines in and lines out; `write` and `notice` from any thread."""

    def write(self, text: str) -> None:
        """Show whole lines."""

    def notice(self, text: str) -> None:
        """Show one line that is ours and not the server's."""

    def read_line(self) -> str:
        """Ask for a line; EOFError is Ctrl-D, KeyboardInterrupt is Ctrl-C."""


def run_prompt(session: Session, *, timeout: float) -> None:
    """Talk to a server from a terminal until the user leaves.

    Args:
        session: a fresh connection.
        timeout: seconds for a reply asked for by ``/time``, a reconnection, and the server's last words; 0 is no limit.
    """
    history = HistoryFile()
    repl = Repl(session, lambda status: open_screen(history, status), timeout=timeout)
    if history.trouble:
        repl.screen.notice(history.trouble)
    repl.run()


def open_screen(history: HistoryFile, status: Callable[[], list[str]]) -> Screen:
    """Choose the front end: rich if the terminal can and prompt_toolkit is there, plain otherwise."""
    if os.environ.get("TERM", "dumb") not in ("dumb", "unknown", ""):
        try:
            from echoclient.rich import RichScreen
        except ImportError:  # the extra `client` is not installed
            pass
        else:
            return RichScreen(history, status)
    from echoclient.plain import PlainScreen

    return PlainScreen(history)


class Repl:
    """Reads, does, and goes on; belongs to the main thread."""

    def __init__(
        self, session: Session, make_screen: Callable[[Callable[[], list[str]]], Screen], *, timeout: float
    ) -> None:
        self.screen = make_screen(lambda: self._conversation.status())
        self._target = session.target
        self._timeout = timeout
        self._newline = b"\n"
        self._as_hex = False
        self._conversation = self._converse(session)

    def _converse(self, session: Session) -> Conversation:
        self.screen.notice(f"connected to {session.peer}; /help lists the commands, Ctrl-D leaves")
        return Conversation(session, self.screen.write, self.screen.notice, as_hex=self._as_hex)

    def run(self) -> None:
        """Read and do, until Ctrl-D or ``/quit``."""
        try:
            while True:
                try:
                    text = self.screen.read_line()
                except KeyboardInterrupt:
                    continue
                # Pasted text may hold several lines: each is taken as if it had been typed.
                for line in text.split("\n"):
                    action = commands.parse(line, self._newline)
                    if action == Simple("quit"):
                        return
                    try:
                        self._do(action)
                    except KeyboardInterrupt:
                        self.screen.notice(f"interrupted; {self._conversation.session.traffic()}")
                        break
        except EOFError:
            return
        finally:
            self._leave()

    def _do(self, action: Action) -> None:
        conversation = self._conversation
        match action:
            case Complaint(text):
                self.screen.notice(text)
            case SetView(as_hex):
                self._as_hex = as_hex
                conversation.set_view(as_hex=as_hex)
            case SetNewline(on):
                self._newline = b"\n" if on else b""
            case Simple("help"):
                self.screen.write(f"{commands.help_text()}\n")
            case Simple("stats"):
                self.screen.notice(", ".join(conversation.status()))
            case Simple("reconnect"):
                self._reconnect()
            case _ if conversation.state != "open":
                self.screen.notice(f"the connection is {conversation.state}: /reconnect makes a new one")
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
            return  # the conversation has said so
        self._conversation.settle(_SETTLE)

    def _send_file(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self._send(iter(lambda: file.read(CHUNK), b""))
        except OSError as error:
            self.screen.notice(f"{path}: {(error.strerror or str(error)).lower()}")

    def _time(self, data: bytes) -> None:
        if not data:
            self.screen.notice("/time: nothing to send")
            return
        try:
            report = self._conversation.time(data, self._timeout or None)
        except ClientError:
            return  # the conversation has said so
        self._conversation.settle(_SETTLE)
        self.screen.notice(report)

    def _reconnect(self) -> None:
        self._conversation.close()
        try:
            session = connect(self._target, timeout=self._timeout)
        except ClientError as error:
            self.screen.notice(str(error))
        else:
            self._conversation = self._converse(session)

    def _leave(self) -> None:
        """Let the server finish, but not for ever, and not if Ctrl-C says so."""
        conversation = self._conversation
        try:
            if not conversation.finish(self._timeout or None):
                self.screen.notice(f"the server did not end the connection within {format_duration(self._timeout)}")
        except KeyboardInterrupt:
            self.screen.notice("interrupted")
        finally:
            conversation.close()
        self.screen.notice(conversation.session.traffic())


def in_chunks(data: bytes, times: int) -> Iterator[bytes]:
    """Yield ``data`` repeated, in pieces of about one send(2) each, so that a million lines need no million calls."""
    if data:
        per_piece = max(1, CHUNK // len(data))
        yield from itertools.repeat(data * min(per_piece, times), times // per_piece)
        if rest := times % per_piece:
            yield data * rest
