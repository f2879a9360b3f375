"""Running pytest with the plugin, as it is where echoserver is installed."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from support import PATIENCE, ROOT

# What changes what pytest prints. On a CI system, the lines of its summary are not cut off, and repeat the errors.
_CHANGES_OUTPUT = ("PYTEST_ADDOPTS", "PYTHONWARNINGS", "CI", "BUILD_NUMBER", "FORCE_COLOR", "PY_COLORS", "COLUMNS")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def install(folder: Path) -> None:
    """Write the metadata of an installed echoserver, with the entry points that the project declares."""
    metadata = folder / "echoserver-0.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: echoserver\nVersion: 0.0.0\n")
    lines = [f"{name} = {target}\n" for name, target in PROJECT["entry-points"]["pytest11"].items()]
    (metadata / "entry_points.txt").write_text("[pytest11]\n" + "".join(lines))
    # Of such a distribution pytest wants to rewrite the assertions, in all packages that it has.
    packages = [ROOT / "echoserver", ROOT / "client" / "echoclient"]
    for package in packages:
        (folder / package.name).symlink_to(package)
    (metadata / "RECORD").write_text("".join(f"{package.name}/__init__.py,,\n" for package in packages))


class Runs:
    """Runs pytest on a file of tests, in a process of its own."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        site = pytester.mkdir("site")
        install(site)
        path = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
        for name in _CHANGES_OUTPUT:
            monkeypatch.delenv(name, raising=False)

    def __call__(self, source: str, *arguments: str) -> pytest.RunResult:
        """Return how the tests in this source went."""
        return self.files({"it": source}, *arguments)

    def files(self, sources: dict[str, str], *arguments: str) -> pytest.RunResult:
        """Return how the tests in several files went, each named `test_`, followed by its key."""
        self.pytester.makepyfile(**{f"test_{name}": source for name, source in sources.items()})
        # Where it is installed, pytest-asyncio warns in each run that is not configured for it. `-p asyncio` loads it.
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments]
        return self.pytester.run(*command, *(f"test_{name}.py" for name in sources), timeout=2 * PATIENCE)


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    """Return how many tests passed, failed and so on."""
    return dict(result.parseoutcomes())


def text_of(result: pytest.RunResult) -> str:
    """Return the output, with any number in place of numbers that differ between runs."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:N", result.stdout.str())
