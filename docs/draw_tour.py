"""Set the line numbers in the tour's links to the code, and draw its pictures; see `make tour-links tour-pictures`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tour.md"
LINK = re.compile(r"\[`([\w.]+)`\]\(\.\./([\w/.]+)#L(\d+)\)")


def line_of(name: str, path: str) -> int | None:
    """Return the line that defines a name, such as `Class.method`, `Class.attribute` or `function`, in a file."""
    scope: ast.AST = ast.parse((ROOT / path).read_text())
    line = None
    for part in name.split("."):
        found = next((node for node in ast.walk(scope) if part in _defined(node)), None)
        if found is None:
            return None
        scope, line = found, getattr(found, "lineno", None)
    return line


def _defined(node: ast.AST) -> set[str]:
    """Return the names that a statement defines, `self.` left out."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {ast.unparse(target).removeprefix("self.") for target in targets}
    return set()


def with_lines(page: str) -> str:
    """Return the page with the line numbers that its links should have."""

    def link(match: re.Match[str]) -> str:
        name, path, _ = match.groups()
        line = line_of(name, path)
        if line is None:
            raise SystemExit(f"{PAGE}: {path} defines no {name}")
        return f"[`{name}`](../{path}#L{line})"

    return LINK.sub(link, page)


def draw() -> None:
    """Have each chapter draw its picture."""
    for chapter in sorted((ROOT / "examples" / "tour").glob("[01][0-9]_*.py")):
        picture = ROOT / "docs" / "tour" / f"{chapter.name[:2]}.svg"
        subprocess.run([sys.executable, chapter, "--svg", picture], check=True)  # noqa: S603 - a program of ours


if __name__ == "__main__":
    if sys.argv[1:] == ["links"]:
        PAGE.write_text(with_lines(PAGE.read_text()))
    elif sys.argv[1:] == ["pictures"]:
        draw()
    else:
        sys.exit("usage: draw_tour.py links|pictures")
