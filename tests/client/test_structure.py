"""The client's structure: no import cycles, nothing of the server, and limits on size."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import echoclient

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "client"
FILES = sorted((SOURCE / "echoclient").rglob("*.py"))
TESTS = sorted((ROOT / "tests" / "client").rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 300, 60, 7


def module(path: Path) -> str:
    """Return the name under which a file of the client is imported."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def named(path: Path) -> Iterator[str]:
    """Yield what a file imports, wherever in it: at the top, in a function, for a type checker."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                # `from package import module` or `from module import name`.
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def imports() -> dict[str, set[str]]:
    """Return the client's modules that each of its modules imports.

    The two `__init__` modules are left out as importers. They offer names of the modules below them, some of them on
    first use, and nothing else.
    """
    return {
        name: {other for other in named(path) if other in MODULES}
        for name, path in MODULES.items()
        if path.name != "__init__.py"
    }


def test_no_module_imports_itself_through_others():
    # Raises CycleError, whose text names the modules of a cycle.
    order = list(TopologicalSorter(imports()).static_order())
    assert order.index("echoclient.target") < order.index("echoclient.cli")


def test_nothing_outside_the_load_generator_imports_it():
    for name, used in imports().items():
        if not name.startswith("echoclient.load"):
            assert not {other for other in used if other.startswith("echoclient.load")}, name


@pytest.mark.parametrize("path", FILES, ids=module)
def test_nothing_is_imported_from_the_server(path):
    assert not {name for name in named(path) if name.split(".")[0] == "echoserver"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short_and_take_few_parameters(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
    for function in functions(path):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < MOST_LINES_OF_A_FUNCTION, function.name
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        assert len([one for one in arguments if one.arg != "self"]) <= MOST_PARAMETERS, function.name


def test_the_version_is_the_server_s():
    """From the source, which is where the version of the distribution comes from."""
    source = (ROOT / "echoserver" / "version.py").read_text()
    assert re.findall(r'^__version__ = "(.*)"$', source, re.MULTILINE) == [echoclient.__version__]
