"""The machine and the software that were measured, for comparison with other machines."""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import cores, generator

_PACKAGES = ("echoserver", "click", "structlog", "uvloop", "gevent", "greenlet")


def describe() -> dict[str, str]:
    """Return the facts by name. They are the same for every run on a machine."""
    threading = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    python = f"{platform.python_implementation()} {platform.python_version()} {threading}".strip()
    return {
        "machine": platform.machine(),
        "processor": f"{_processor()}, {_cores()} cores",
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": python,
        "packages": ", ".join(filter(None, map(_version, _PACKAGES))),
        "cores": cores.share().about,
        "load generator": generator.about(),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _processor() -> str:
    if sys.platform == "linux":
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or "unknown"


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""
