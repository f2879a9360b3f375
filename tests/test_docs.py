"""The pages are correct: their code runs, their tables match the code, and their sample lines match real ones."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from echoserver.config import default_of, flag_of, load_config, options
from echoserver.handlers.finding import ENTRY_POINT_GROUP
from echoserver.observe.metrics import CloseReason, Snapshot, WorkerSnapshot
from echoserver.serving.interpreter import has_gil
from support import PATIENCE, ROOT, Service, environment

HANDLERS = (ROOT / "docs" / "handlers.md").read_text()
OPERATION = (ROOT / "docs" / "operation.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def rows(page: str, first_header: str) -> dict[str, list[str]]:
    """Return the rows of the table with this first header, by the names in backquotes in their first column."""
    lines = iter(page.splitlines())
    found = {}
    for line in lines:
        if line.startswith(f"| {first_header} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    return found
                first, *others = [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))]
                for name in re.findall(r"`([^`]+)`", first):
                    found[name] = others
    raise AssertionError(f"no table with {first_header!r}")


@pytest.fixture
def example(tmp_path) -> Path:
    """Write each Python block of the guide into the file that its first line names; return the folder."""
    for block in blocks(HANDLERS, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        assert name.endswith(".py")
        (tmp_path / name).write_text(block)
    return tmp_path


def test_the_tests_in_the_guide_pass(example):
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(example)],
        capture_output=True,
        text=True,
        cwd=example,
        env=environment(PYTHONPATH=f"{example}:{ROOT}"),
        timeout=PATIENCE,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "3 passed" in finished.stdout


def test_the_session_in_the_guide_is_real(example):
    (session,) = [block for block in blocks(HANDLERS, "console") if "adder:Adder" in block]
    serve, talk, *shown = session.splitlines()
    sent = re.fullmatch(r"\$ printf '(.*)' \| ncat 127\.0\.0\.1 9000", talk)
    assert sent is not None
    command, *flags = serve.removeprefix("$ echoserver ").split()
    assert command == "serve"
    with Service(*flags, cwd=example) as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(sent[1].replace(r"\n", "\n").encode())
            peer.shutdown(socket.SHUT_WR)
            received = b""
            while data := peer.recv(100):
                received += data
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
    assert received.decode().splitlines() == shown


def test_the_function_in_the_guide_serves(example):
    (serve,) = [block for block in blocks(HANDLERS, "console") if "shout" in block]
    with Service(*serve.split()[3:], cwd=example) as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(b"hey")
            assert peer.recv(100) == b"HEY!"
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0


def test_the_configuration_in_the_guide_is_valid(tmp_path):
    configuration, package = blocks(HANDLERS, "toml")
    path = tmp_path / "echoserver.toml"
    path.write_text(configuration)
    assert load_config({"config": str(path)}, {}).config.handler_options == {"start": 10}
    assert list(tomllib.loads(package)["project"]["entry-points"]) == [ENTRY_POINT_GROUP]


# -- operation


def test_the_table_of_options_matches_the_declarations():
    table = rows(OPERATION, "Option")
    assert list(table) == [flag_of(name) for name, _ in options()]
    for name, option in options():
        default, help_text = table[flag_of(name)]
        shown = option.kind.show(default_of(name))
        assert default == ("" if shown in ({}, [], "") else f"`{shown}`")
        assert help_text == option.help.replace("|", r"\|")


def test_the_page_names_the_options_that_cannot_change():
    sentence = OPERATION.partition("and are refused by name: ")[2].partition(". A handler")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name, option in options() if option.fixed}


def test_the_table_of_counters_matches_the_snapshot():
    counters = [field.name for field in dataclasses.fields(Snapshot) if field.name != "workers"]
    assert list(rows(OPERATION, "Counter")) == [*counters, "log_dropped"]
    assert list(rows(OPERATION, "In `workers`")) == [field.name for field in dataclasses.fields(WorkerSnapshot)]


def test_the_table_of_reasons_matches_the_enumeration():
    assert list(rows(DESIGN, "Reason")) == [reason.value for reason in CloseReason]


def test_the_sample_lines_have_the_fields_of_real_ones():
    (sample,) = blocks(OPERATION, "json")
    shown = {line["event"]: line for line in map(json.loads, sample.splitlines())}
    with Service() as service:
        with socket.create_connection(service.address, PATIENCE) as peer:
            peer.sendall(b"hello")
            assert peer.recv(5) == b"hello"
        service.wait_for("connection ended")
        service.send_signal(signal.SIGTERM)
        assert service.finish() == 0
    real = {line["event"]: line for line in service.events}
    assert list(shown) == ["listening", "connection ended", "draining", "stopped"]
    if not has_gil():
        del shown["listening"]["core"]  # there each thread runs where the kernel puts it
    for event, line in shown.items():
        assert list(line) == list(real[event])
