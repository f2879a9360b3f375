"""The house plan, held to the code: who may import whom, who may do what, and which locks there are.

The tables are those of docs/design.md, so that the page can't say one thing and the code do another.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from support import ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text()
SERVER = ROOT / "echoserver"
CLIENT = ROOT / "client" / "echoclient"
# What each distribution is called where it is imported.
MODULES = {"tomli-w": "tomli_w", "hdrhistogram": "hdrh"}
PRIMITIVES = {
    *("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier", "Timer", "local"),
    *("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue", "make_queue"),
}
THE_COMMAND = {"__main__.py", "cli.py", "operate.py"}


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading of the design page, without its two header lines."""
    section = re.split(r"^## ", DESIGN, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading + "\n")]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def code_in(cell: str) -> list[str]:
    """Return what stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return all modules that a file imports, wherever in it: at the top, in a function, for a type checker."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            found.update(argument.value for argument in node.args if isinstance(argument, ast.Constant))
    return found


def room(path: Path) -> str:
    """Return the name under which the design page has a file of the server."""
    return "handlers/" if path.parent.name == "handlers" else path.name


def room_of(module: str) -> str:
    """Return the room that a module of ours is in."""
    parts = module.split(".")
    if len(parts) == 1:
        return "__init__.py"
    return "handlers/" if parts[1] == "handlers" else parts[1] + ".py"


def third_party(path: Path) -> set[str]:
    tops = {module.split(".")[0] for module in imports(path)}
    return tops - set(sys.stdlib_module_names) - {"echoserver", "echoclient"}


ROOMS = {code_in(name)[0]: (code_in(may), code_in(libraries)) for name, _, may, libraries in table("Rooms")}


def test_every_module_has_its_row_and_every_row_its_module():
    assert sorted(ROOMS) == sorted({room(path) for path in files(SERVER)})


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_what_its_row_says(name):
    used = {
        room_of(module)
        for path in files(SERVER)
        if room(path) == name
        for module in imports(path)
        if module.split(".")[0] == "echoserver"
    } - {name}
    assert sorted(used) == sorted(ROOMS[name][0])


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_uses_the_libraries_that_its_row_says(name):
    used = {library for path in files(SERVER) if room(path) == name for library in third_party(path)}
    assert sorted(used) == sorted(ROOMS[name][1])


def test_the_rooms_stand_in_order_so_there_is_no_circle():
    seen = set()
    for name, (may, _) in ROOMS.items():
        assert set(may) <= seen, f"{name} imports a room that stands below it"
        seen.add(name)


def test_the_client_knows_nothing_of_the_server():
    for path in files(CLIENT):
        assert not {module for module in imports(path) if module.split(".")[0] == "echoserver"}, path


def test_the_server_knows_nothing_of_the_client():
    for path in files(SERVER):
        assert not {module for module in imports(path) if module.split(".")[0] == "echoclient"}, path


# -- who may do what


def uses(path: Path) -> set[str]:
    """Return the names a file reads, and the attributes as `module.attribute`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", [path for path in files(SERVER) if path.name not in THE_COMMAND], ids=room)
def test_only_the_command_prints_reads_arguments_takes_signals_and_exits(path):
    of_a_process = {"print", "input", "exit", "quit", "breakpoint", "os._exit"}
    of_a_process |= {f"sys.{name}" for name in ("exit", "argv", "stdin", "stdout", "stderr", "excepthook")}
    assert not uses(path) & of_a_process
    assert not uses(path) & {
        f"signal.{name}" for name in ("signal", "set_wakeup_fd", "setitimer", "alarm", "raise_signal")
    }
    assert not imports(path) & {"click", "argparse", "atexit"}


@pytest.mark.parametrize("path", files(SERVER), ids=room)
def test_only_log_lines_use_the_wall_clock_and_nothing_sleeps(path):
    allowed = {"time.time", "time"} if path.name == "logs.py" else set()
    wall = {f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "sleep", "strftime")}
    assert not (uses(path) & wall) - allowed
    if path.name != "logs.py":
        assert "datetime" not in imports(path)


@pytest.mark.parametrize("path", files(SERVER), ids=room)
def test_nothing_forks(path):
    assert not imports(path) & {"multiprocessing", "subprocess", "concurrent.futures"}
    assert not uses(path) & {"os.fork", "os.forkpty", "os.posix_spawn", "os.system"}


# -- locks, queues and events


def called(node: ast.AST | None) -> str:
    """Return the name of the primitive that a call makes, `threading.` left out; else nothing."""
    if not isinstance(node, ast.Call):
        return ""
    name = ast.unparse(node.func).removeprefix("threading.").removeprefix("queue.")
    return name if name in PRIMITIVES else ""


def primitives_made(path: Path) -> set[str]:
    """Return where a file makes something that threads share: `Class.attribute`, or `function.variable`."""
    found = set()
    for owner in ast.parse(path.read_text()).body:
        if not isinstance(owner, ast.ClassDef | ast.FunctionDef):
            continue
        for node in ast.walk(owner):
            if isinstance(node, ast.Assign | ast.AnnAssign) and called(node.value):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                found.add(f"{owner.name}.{ast.unparse(target).removeprefix('self.')}")
    return found


def calls_of_primitives(path: Path) -> int:
    return sum(bool(called(node)) for node in ast.walk(ast.parse(path.read_text())))


def test_whatever_threads_share_stands_in_the_table():
    made = set().union(*(primitives_made(path) for path in files(SERVER)))
    assert sorted(code_in(row[0])[0] for row in table("What threads share")) == sorted(made)


def test_nothing_that_threads_share_is_made_anywhere_else():
    for path in files(SERVER):
        inner = path.read_text().count("Condition(RLock())")  # one inside another
        assert calls_of_primitives(path) - inner == len(primitives_made(path)), path


# -- dependencies


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in requirements} - {"echoserver"}


def modules(distributions: set[str]) -> set[str]:
    return {MODULES.get(name, name) for name in distributions}


def test_the_server_is_content_with_its_own_dependencies():
    used = set().union(*(third_party(path) for path in files(SERVER)))
    assert used == modules(names(project()["dependencies"]))


def test_the_client_is_content_with_its_own_dependencies():
    used = set().union(*(third_party(path) for path in files(CLIENT)))
    extra = names(project()["optional-dependencies"]["client"])
    assert used <= modules(names(project()["dependencies"]) | extra)
    assert modules(extra) <= used, "the extra has what nobody uses"


def test_every_dependency_has_its_reason():
    optional = project()["optional-dependencies"]
    expected = names(project()["dependencies"]).union(*map(names, optional.values()))
    assert {code_in(row[0])[0] for row in table("Dependencies")} == expected
    assert all(len(row[-1]) > 20 for row in table("Dependencies"))


# -- pages and files


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
