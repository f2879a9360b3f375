"""The benchmark's modules: no import cycles, and nothing too large to be read in one go."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from support import ROOT

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "bench").rglob("*.py"))
}


def imports(path: Path) -> set[str]:
    """Return the modules of the benchmark that a module imports, at the top or anywhere else."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from bench import page` names a module, `from bench.page import write` names what is in one.
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found & MODULES.keys() - {"bench"}


def test_no_import_cycles():
    list(TopologicalSorter({name: imports(path) for name, path in MODULES.items()}).static_order())


@pytest.mark.parametrize("name", MODULES)
def test_sizes(name):
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"
        elif isinstance(node, ast.ClassDef):
            fields = [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]
            assert len(fields) <= 7, f"{node.name} has more than 7 fields"
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    count = len(method.args.args) + len(method.args.kwonlyargs) - 1
                    assert count <= 7, f"{node.name} takes more than 7 parameters"
