"""Running a chapter of the tour as its reader does, and reading what it printed and drew."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from support import ROOT

TOUR = ROOT / "examples" / "tour"
PICTURES = ROOT / "docs" / "tour"
PATIENCE = 50.0
SAID = re.compile(r" *(\d+\.\d{3}) s  (.{16,}?) (.*)")


@dataclass(frozen=True)
class Ran:
    """What a chapter that has ended left behind."""

    code: int
    output: str
    errors: str
    picture: str = ""

    @property
    def said(self) -> list[tuple[str, str]]:
        """The name of the thread and the text of each line that a thread said."""
        lines = [SAID.fullmatch(line) for line in self.output.splitlines()]
        return [(line[2].strip(), line[3]) for line in lines if line is not None]

    def with_picture(self, picture: str) -> Ran:
        return replace(self, picture=picture)

    def text(self, beginning: str) -> str:
        """Return the one text that begins so, without the beginning."""
        (found,) = [text for _, text in self.said if text.startswith(beginning)]
        return found.removeprefix(beginning)


def run_chapter(name: str, *arguments: object, **environment: str) -> Ran:
    """Run a chapter to its end, as a program of its own: its name is that of its file, without `.py`."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client"), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, TOUR / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "PYTHONUTF8": "1", **environment},
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def ran_well(name: str, *arguments: object) -> Ran:
    """Run a chapter to its end, which comes by itself and without a complaint."""
    ran = run_chapter(name, *arguments)
    assert (ran.code, ran.errors) == (0, ""), ran
    return ran


def labels(picture: str, style: str) -> list[str]:
    """Return the texts of a class in an SVG picture: `title`, `row`; or `span`, what its rectangles are titled."""
    root = ET.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    if style == "span":
        titles = [rectangle.find(f"{space}title") for rectangle in root.iter(f"{space}rect")]
        return [title.text or "" for title in titles if title is not None]
    return [text.text or "" for text in root.iter(f"{space}text") if text.get("class") == style]


def load(path: Path) -> ModuleType:
    """Import a file of the tour, whose name need not be one that `import` can write."""
    spec = importlib.util.spec_from_file_location(f"tour_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(TOUR))
    try:
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(TOUR))
    return module
