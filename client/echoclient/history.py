"""The history of the prompt, kept between runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_KEEP = 1000
# A pasted megabyte is not worth keeping.
_LONGEST = 4096


def history_path() -> Path:
    """Return ``$XDG_STATE_HOME/echoclient/history``, by default under ``~/.local/state``.

    A relative path in the variable is ignored, as the XDG Base Directory Specification requires.

    Raises:
        OSError: the user has no home directory.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        state = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    except RuntimeError as error:  # for instance a numeric user in a container
        raise FileNotFoundError(errno.ENOENT, "no home directory", "~") from error
    return state / "echoclient" / "history"


class HistoryFile:
    """A text file with one entry on each line, the newest last, readable only by its owner.

    If it can't be kept, the prompt works without it.

    Attributes:
        entries: what the file held, the oldest first.
        trouble: why nothing is kept, in one line; empty if the history is kept.
    """

    def __init__(self) -> None:
        """Read the file, and shorten it if it has grown long."""
        self.entries: list[str] = []
        self.trouble = ""
        try:
            self._path = path = history_path()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Opening it for appending creates it, and shows now whether it can be written.
            with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600), "rb") as file:
                file.seek(0)
                lines = file.read().decode("utf-8", "surrogateescape").splitlines()
            self.entries = lines[-_KEEP:]
            if len(lines) > 2 * _KEEP:
                self._rewrite()
        except OSError as error:
            self._give_up(error)

    def add(self, line: str) -> None:
        """Append an entry, unless it is blank, very long, or has more than one line."""
        if self.trouble or not line.strip() or len(line) > _LONGEST or len(line.splitlines()) != 1:
            return
        try:
            with self._path.open("ab") as file:
                file.write(line.encode("utf-8", "surrogateescape") + b"\n")
        except OSError as error:
            self._give_up(error)

    def _rewrite(self) -> None:
        shorter = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with os.fdopen(os.open(shorter, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.writelines(entry.encode("utf-8", "surrogateescape") + b"\n" for entry in self.entries)
        shorter.replace(self._path)  # atomic: another client that reads now sees the old file or the new one

    def _give_up(self, error: OSError) -> None:
        self.trouble = f"history is not kept: {(error.strerror or str(error)).lower()}: {error.filename}"
