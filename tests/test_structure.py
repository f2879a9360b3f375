"""The structure of the code: what may import what, which code may do what, how long it gets, and which locks there are.

The tables are those of docs/design.md, so that the page cannot say one thing and the code do another.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text()
SERVER = ROOT / "echoserver"
CLIENT = ROOT / "client" / "echoclient"
BENCH = ROOT / "bench"
PRIMITIVES = {
    *("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier", "Timer", "local"),
    *("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue", "make_queue"),
}
MOST_LINES_OF_A_MODULE = 300
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS_OF_A_CONSTRUCTOR = 7


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


def name_of(path: Path) -> str:
    """Return the path of a file below its package, which identifies it in the output of the tests."""
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    """Return the dotted name of a module of the server."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SERVER_MODULES = {module_of(path) for path in files(SERVER)}


def imports(path: Path) -> set[str]:
    """Return all modules that a file imports, wherever in it: at the top, in a function, for a type checker."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(str(node.module))
            found.update({f"{node.module}.{alias.name}" for alias in node.names} & SERVER_MODULES)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            found.update(argument.value for argument in node.args if isinstance(argument, ast.Constant))
    return found


def package_of(module: str) -> str:
    """Return the row of the design page that a module of the server belongs to."""
    parts = module.split(".")
    if len(parts) == 1:
        return "__init__.py"
    return f"{parts[1]}/" if (SERVER / parts[1]).is_dir() else f"{parts[1]}.py"


def third_party(path: Path) -> set[str]:
    tops = {module.split(".")[0] for module in imports(path)}
    return tops - set(sys.stdlib_module_names) - {"echoserver", "echoclient"}


PACKAGES = {code_in(name)[0]: (code_in(may), code_in(libraries)) for name, _, may, libraries in table("Packages")}


def files_of(package: str) -> list[Path]:
    return [path for path in files(SERVER) if package_of(module_of(path)) == package]


def test_every_package_has_its_row_and_every_row_its_package():
    assert sorted(PACKAGES) == sorted({package_of(module_of(path)) for path in files(SERVER)})


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_what_its_row_says(package):
    used = {
        package_of(module)
        for path in files_of(package)
        for module in imports(path)
        if module.split(".")[0] == "echoserver"
    }
    if package == "__init__.py":  # it loads them by name, when they are first used
        used |= {package_of(home) for home in re.findall(r'"(echoserver\.[a-z_.]+)"', (SERVER / package).read_text())}
    assert sorted(used - {package}) == sorted(PACKAGES[package][0])


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_uses_the_libraries_that_its_row_says(package):
    used = {library for path in files_of(package) for library in third_party(path)}
    assert sorted(used) == sorted(PACKAGES[package][1])


def test_packages_import_only_those_above_them():
    seen: set[str] = set()
    for package, (may, _) in PACKAGES.items():
        assert set(may) <= seen, f"{package} imports a package that stands below it"
        seen.add(package)


def test_no_module_imports_itself_by_way_of_others():
    graph = {module_of(path): imports(path) & SERVER_MODULES - {module_of(path)} for path in files(SERVER)}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a cycle: {[*way, module]}"
        if module not in done:
            for imported in graph[module]:
                visit(imported, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_client_knows_nothing_of_the_server():
    for path in files(CLIENT):
        assert not {module for module in imports(path) if module.split(".")[0] == "echoserver"}, path


def test_the_server_knows_nothing_of_the_client():
    for path in files(SERVER):
        assert not {module for module in imports(path) if module.split(".")[0] == "echoclient"}, path


# -- how long code gets


OURS = [*files(SERVER), *files(CLIENT), *files(BENCH)]


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("path", [*OURS, *files(ROOT / "tests")], ids=name_of)
def test_no_module_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES_OF_A_MODULE


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_no_function_is_too_long(path):
    for node in functions(path):
        assert node.end_lineno is not None
        assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, node.name


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_no_constructor_takes_too_many_parameters(path):
    for node in functions(path):
        if node.name == "__init__":
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert len(taken) - 1 <= MOST_PARAMETERS_OF_A_CONSTRUCTOR, f"line {node.lineno}"


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


THE_COMMAND = {SERVER / "__main__.py", *files(SERVER / "cli")}
OF_THE_PROCESS = {SERVER / "process" / name for name in ("signals.py", "uncaught.py")} | {
    SERVER / "supervisor" / name for name in ("pool.py", "worker.py", "upgrade.py")
}
FORKS, EXECUTES = SERVER / "supervisor" / "pool.py", SERVER / "supervisor" / "upgrade.py"


@pytest.mark.parametrize("path", [path for path in files(SERVER) if path not in THE_COMMAND], ids=name_of)
def test_only_the_command_prints_reads_arguments_and_exits(path):
    # A forked process has to end where it was forked, and nowhere else.
    allowed = {"os._exit"} if path == FORKS else set()
    assert not (uses(path) & {"print", "input", "exit", "quit", "breakpoint", "os._exit"}) - allowed
    assert not uses(path) & {f"sys.{name}" for name in ("exit", "argv", "stdin", "stdout", "stderr")}
    assert not imports(path) & {"click", "argparse", "atexit"}


@pytest.mark.parametrize("path", [path for path in files(SERVER) if path.name != "__main__.py"], ids=name_of)
def test_only_the_process_takes_signals_and_sets_hooks(path):
    if path not in OF_THE_PROCESS:
        taking = ("signal", "set_wakeup_fd", "setitimer", "alarm", "raise_signal")
        assert not uses(path) & {f"signal.{name}" for name in taking}
        assert not uses(path) & {"sys.excepthook", "sys.unraisablehook"}
        assert not re.search(r"threading\.excepthook\s*=", path.read_text())


@pytest.mark.parametrize("path", files(SERVER), ids=name_of)
def test_only_log_lines_certificates_and_daytime_use_the_wall_clock_and_nothing_sleeps(path):
    of_the_log, of_daytime = {"time.time"}, {"time.time", "time.gmtime"}
    allowed = {
        SERVER / "observe" / "logs.py": of_the_log,
        SERVER / "observe" / "direct.py": of_the_log,
        SERVER / "handlers" / "daytime.py": of_daytime,
        SERVER / "serving" / "renewal.py": of_the_log,
    }.get(path, set())
    wall = {f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "sleep", "strftime")}
    assert not (uses(path) & wall) - allowed
    if path.name not in ("rendering.py", "renewal.py"):
        assert "datetime" not in imports(path)


@pytest.mark.parametrize("path", files(SERVER), ids=name_of)
def test_only_the_supervisor_forks(path):
    allowed = {FORKS: {"os.fork"}, EXECUTES: {"subprocess"}}.get(path, set())
    assert not (imports(path) & {"multiprocessing", "subprocess", "concurrent.futures"}) - allowed
    assert not (uses(path) & {"os.fork", "os.forkpty", "os.posix_spawn", "os.system"}) - allowed


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
