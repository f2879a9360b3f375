"""The page on faults is right: its commands print what it shows, and its tables have what the code has."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from echoserver.config import load_config
from echoserver.faults.delays import parse_delays
from echoserver.faults.kinds import KINDS
from echoserver.faults.loading import read_file
from echoserver.faults.picture import draw
from echoserver.faults.rules import parse_rule
from echoserver.faults.tickets import read_ticket
from echoserver.faults.triggers import parse_trigger
from faults.rule_kit import plan_of
from support import ROOT, run

PAGE = (ROOT / "docs" / "faults.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
STEPS = [part.partition("\n")[::2] for block in BLOCKS for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
EXPLAINED = [(command, shown) for command, shown in STEPS if command.startswith("echoserver faults")]
SERVED = [command for command, _ in STEPS if command.startswith("echoserver serve")]


def codes(first_header: str) -> list[str]:
    """Return what stands in backquotes in the first column of a table."""
    (table,) = re.findall(rf"^\| {first_header} \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE)
    return [code for row in table.splitlines() for code in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.parametrize(("command", "shown"), EXPLAINED)
def test_a_command_prints_what_the_page_shows(command, shown, tmp_path):
    (tmp_path / "docs").mkdir()
    finished = run(*shlex.split(command)[1:], cwd=tmp_path)
    assert (finished.stdout, finished.stderr, finished.returncode) == (shown, "", 0)
    for picture in (tmp_path / "docs").iterdir():
        assert picture.read_text() == (ROOT / "docs" / picture.name).read_text()


def test_the_commands_that_serve_are_accepted():
    serve, replay = (shlex.split(command)[2:] for command in SERVED)
    assert (serve[0], serve[2]) == ("--fault", "--fault-seed")
    plan = load_config({"fault": [serve[1]], "fault_seed": serve[3]}, {}).config.fault_plan()
    assert replay == ["--fault-ticket", plan.schedule(9).ticket]
    assert read_ticket(replay[1]).rules == plan.rules


def test_the_table_of_kinds():
    assert codes("Kind") == list(KINDS)
    for example in re.findall(r"^\| `[a-z]+` \| `([^`]+)` \|", PAGE, flags=re.MULTILINE):
        assert str(parse_rule(example)) == example


def test_the_table_of_triggers():
    assert len(codes("Trigger")) == 7
    for text in codes("Trigger"):
        assert str(parse_trigger(text)) == text


def test_the_table_of_delays():
    assert len(codes("Parameters")) == 5
    for text in codes("Parameters"):
        assert str(parse_delays(text)) == text


def test_the_file_on_the_page_has_the_rules_that_the_page_says(tmp_path):
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "faults.toml"
    path.write_text(block)
    rules, seed = read_file(str(path), "--fault-file")
    (line,) = re.findall(r"`(fault = \[.*\])`", PAGE)
    assert list(map(str, rules)) == tomllib.loads(line)["fault"]
    assert f"`fault_seed = {seed}`" in PAGE


def test_the_picture_says_what_it_shows():
    picture = draw(plan_of("refuse@#2", "delay=5ms@10%", "throttle=1kB/s@msg 2", "corrupt=50%"))
    for text in (
        "refuse@#2",
        "500 of 1,000 connections",
        "1st delay (s)",
        "offset (bytes)",
        "number of the connection",
    ):
        assert text in picture
    assert "prefers-color-scheme: dark" in picture
