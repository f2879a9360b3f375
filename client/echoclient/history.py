"""What was typed at the prompt, kept from one run to the next."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_KEEP = 1000
# Nobody wants a pasted megabyte back with the arrow key.
_LONGEST = 4096


def history_path() -> Path:
    """Return ``$XDG_STATE_HOME/echoclient/history``, by default under ``~/.local/state``.

    The XDG Base Directory Specification has relative paths in the variable ignored.

    Raises:
        OSError: the user has no home folder.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        state = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    except RuntimeError as error:  # a container's numeric user, say
        raise FileNotFoundError(errno.ENOENT, "no home folder", "~") from error
    return state / "echoclient" / "history"


class HistoryFile:
    """A text file, one line an entry, the newest last, readable by its owner alone.

    Without a place to keep it, the prompt works all the same.

    Attributes:
        entries: what the file held, the oldest first.
        trouble: why nothing is kept, in one line; empty if all is well.
    """

    def __init__(self) -> None:
        """Read the file, and shorten it if it has grown long."""
        self.entries: list[str] = []
        self.trouble = ""
        try:
            self._path = path = history_path()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Opened for appending: that makes it, and finds out now whether it can be written.
            with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600), "rb") as file:
                file.seek(0)
                lines = file.read().decode("utf-8", "surrogateescape").splitlines()
            self.entries = lines[-_KEEP:]
            if len(lines) > 2 * _KEEP:
                self._rewrite()
        except OSError as error:
            self._give_up(error)

    def add(self, line: str) -> None:
        """Append an entry; a blank or very long one, or one with a newline in it, is not kept."""
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
        shorter.replace(self._path)  # in one step: another client that reads meanwhile sees the old or the new

    def _give_up(self, error: OSError) -> None:
        self.trouble = f"history is not kept: {(error.strerror or str(error)).lower()}: {error.filename}"
