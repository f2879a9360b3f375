"""The programs in C, built with the machine's compiler when they are first needed, into a folder that goes at exit."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
SOURCES = {
    "loadgen": (_HERE / "loadgen.c", ("-lssl", "-lcrypto")),
    "c-epoll": (_HERE / "competitors" / "epoll.c", ()),
    "c-threads": (_HERE / "competitors" / "threads.c", ("-pthread",)),
}
"""By name: the source, and what it is linked with."""

_TLS = "-DWITH_TLS"
# Shorter than a build takes on a slow machine, it would be a wrong answer; longer, nobody would wait.
_BUILD_TIMEOUT = 60.0


def compiler() -> str | None:
    """Return the C compiler's path: that of `CC`, or else of `cc`; `None` if there is none."""
    return shutil.which(os.environ.get("CC") or "cc")


@cache
def program(name: str) -> Path | None:
    """Return the path of a program, built on the first call; `None` if that is not possible here.

    The load generator is built with TLS if OpenSSL's headers are there, and otherwise without.
    """
    source, libraries = SOURCES[name]
    target = Path(_folder().name) / name
    if name == "loadgen":
        return target if has_tls() or not build(source, target) else None
    return None if build(source, target, libraries) else target


@cache
def has_tls() -> bool:
    """Return whether the load generator can be built with TLS; builds it."""
    source, libraries = SOURCES["loadgen"]
    return not build(source, Path(_folder().name) / "loadgen", (_TLS, *libraries))


def build(source: Path, target: Path, flags: Sequence[str] = ()) -> str:
    """Compile a program from one source file.

    Returns
    -------
    str
        What the compiler said, or why it did not run; empty if the program is there.
    """
    path = compiler()
    if path is None:
        return "there is no C compiler"
    command = [path, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(target), str(source), *flags]
    try:
        finished = subprocess.run(  # noqa: S603 - the compiler, with our own sources
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_BUILD_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if finished.returncode == 0 else finished.stderr.strip() or f"status {finished.returncode}"


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="bench-native-")
    atexit.register(folder.cleanup)
    return folder
