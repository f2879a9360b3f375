"""The commands of the prompt: turns a line into an action, without any I/O."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Send:
    """Send these bytes ``times`` times."""

    data: bytes
    times: int = 1


@dataclass(frozen=True)
class SendFile:
    """Send the contents of a file unchanged."""

    path: str


@dataclass(frozen=True)
class Time:
    """Send these bytes and report how long the reply took."""

    data: bytes


@dataclass(frozen=True)
class SetView:
    """Show received bytes as text or as hex."""

    as_hex: bool


@dataclass(frozen=True)
class SetNewline:
    """Add a newline to each typed line, or not."""

    on: bool


@dataclass(frozen=True)
class Simple:
    """An action without a parameter: ``name`` is help, stats, halfclose, reconnect or quit."""

    name: str


@dataclass(frozen=True)
class Complaint:
    """The line is not understood; ``text`` says what is wrong and what would be right."""

    text: str


Action = Send | SendFile | Time | SetView | SetNewline | Simple | Complaint


@dataclass(frozen=True)
class Command:
    """One entry of the table below.

    Attributes:
        usage: how it is written, without the slash.
        help: what it does, in a few words.
        read: turns the rest of the line and the current newline into an action; raises ValueError for bad usage.
        choices: the possible arguments, if they are a fixed set.
    """

    usage: str
    help: str
    read: Callable[[str, bytes], Action]
    choices: tuple[str, ...] = ()


def encode(text: str) -> bytes:
    """Return typed text as UTF-8; bytes from the terminal that are not UTF-8 stay as they were."""
    return text.encode("utf-8", "surrogateescape")


def _hex(rest: str, _: bytes) -> Action:
    try:
        data = bytes.fromhex(rest)
    except ValueError:
        raise ValueError(f"{rest!r} is not hexadecimal: write two digits for each byte, such as 00ff 0a") from None
    if not data:
        raise ValueError("no bytes given: write them in hexadecimal, such as 00ff 0a")
    return Send(data)


def _repeat(rest: str, newline: bytes) -> Action:
    count, _, text = rest.partition(" ")
    if not (count.isascii() and count.isdigit() and len(count) <= 9 and int(count)):
        raise ValueError(f"{count!r} is not a number from 1 to 999999999")
    return Send(encode(text) + newline, int(count))


def _file(rest: str, _: bytes) -> Action:
    if not rest:
        raise ValueError("no file named: write its path")
    return SendFile(os.path.expanduser(rest))


def _choice(one: str, other: str, action: Callable[[bool], Action]) -> Callable[[str, bytes], Action]:
    def read(rest: str, _: bytes) -> Action:
        if rest not in (one, other):
            raise ValueError(f"{rest!r} is not an option: write {one} or {other}")
        return action(rest == one)

    return read


def _bare(name: str) -> Callable[[str, bytes], Action]:
    def read(rest: str, _: bytes) -> Action:
        if rest:
            raise ValueError("it takes no argument")
        return Simple(name)

    return read


COMMANDS: dict[str, Command] = {
    "help": Command("help", "show this list", _bare("help")),
    "send": Command("send FILE", "send a file unchanged", _file),
    "hex": Command("hex 00ff...", "send these bytes", _hex),
    "view": Command(
        "view text|hex", "show what arrives as text or in hexadecimal", _choice("hex", "text", SetView), ("text", "hex")
    ),
    "newline": Command(
        "newline on|off", "end each typed line with a newline or not", _choice("on", "off", SetNewline), ("on", "off")
    ),
    "repeat": Command("repeat N TEXT", "send a line N times", _repeat),
    "time": Command("time TEXT", "send a line and time its reply", lambda rest, newline: Time(encode(rest) + newline)),
    "halfclose": Command("halfclose", "end the sending side; replies still arrive", _bare("halfclose")),
    "stats": Command("stats", "show the state, the last round trip, and byte counts", _bare("stats")),
    "reconnect": Command("reconnect", "close this connection and open a new one", _bare("reconnect")),
    "quit": Command("quit", "half-close, show the rest, quit (also Ctrl-D)", _bare("quit")),
}


def parse(line: str, newline: bytes = b"\n") -> Action:
    """Turn a typed line into an action.

    Args:
        line: the line, without its newline.
        newline: what to add to text: a newline or nothing.

    Returns:
        The action; a `Complaint` if the line is a command that is not understood.
    """
    if not line.startswith("/") or line.startswith("//"):
        return Send(encode(line.removeprefix("/")) + newline)
    name, _, rest = line[1:].partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists the commands."
        return Complaint(f"no command /{name}: {hint} To send a line that begins with /, type // instead.")
    try:
        # Only TEXT keeps its spaces, because they are sent.
        return command.read(rest if command.usage.endswith("TEXT") else rest.strip(), newline)
    except ValueError as error:
        return Complaint(f"/{name}: {error}. Usage: /{command.usage}")


def complete(line: str) -> Iterator[str]:
    """Yield the completions of a line: names of commands, their fixed arguments, files for ``/send``."""
    if not line.startswith("/") or line.startswith("//"):
        return
    name, space, rest = line[1:].partition(" ")
    if not space:
        yield from (
            f"/{known}{' ' if known != command.usage else ''}"
            for known, command in COMMANDS.items()
            if known.startswith(name)
        )
    elif name == "send":
        for path in sorted(glob.glob(glob.escape(os.path.expanduser(rest)) + "*")):
            yield f"/send {path}{'/' if os.path.isdir(path) else ''}"
    elif name in COMMANDS:
        yield from (f"/{name} {choice}" for choice in COMMANDS[name].choices if choice.startswith(rest))


def help_text() -> str:
    """Return the list of commands, one on each line."""
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"  /{command.usage:<{width}}  {command.help}" for command in COMMANDS.values()]
    return "\n".join([*lines, f"  {'//...':<{width + 1}}  send a line that begins with /"])
