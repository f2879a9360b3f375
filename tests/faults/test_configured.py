"""From options and files to a plan: what is taken, what is refused, and what is imported."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver import ServerConfig
from echoserver.config import load_config
from echoserver.errors import ConfigError
from echoserver.faults.loading import read_file
from faults.rule_kit import plan_of
from support import environment, run

FILE = """
seed = 42

[[fault]]
kind = "delay"
parameters = "50ms:10,200ms:2"
trigger = "10%"

[[fault]]
kind = "reset"
trigger = "byte 1000"
"""
RULES = ["delay=50ms:10,200ms:2@10%", "reset@byte 1000"]
TICKET = plan_of("reset", seed=7).schedule(1).ticket


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "faults.toml"
        path.write_text(text)
        return str(path)

    return write


def texts_of(plan) -> list[str]:
    return [str(rule) for rule in plan.rules]


def test_without_rules_there_is_no_plan():
    assert ServerConfig().fault_plan() is None
    assert ServerConfig(fault_seed=5).fault_plan() is None


def test_rules_and_a_seed():
    plan = ServerConfig(fault=RULES, fault_seed=5).fault_plan()
    assert (texts_of(plan), plan.seed, plan.generation, plan.replayed) == (RULES, 5, 1, None)


def test_without_a_seed_one_is_drawn_each_time():
    seeds = {ServerConfig(fault=["reset"]).fault_plan().seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(1 <= seed < 2**32 for seed in seeds)


def test_a_file_has_rules_and_a_seed(file):
    plan = ServerConfig(fault_file=file(FILE)).fault_plan()
    assert (texts_of(plan), plan.seed) == (RULES, 42)


def test_rules_given_one_by_one_come_after_those_of_the_file_and_a_seed_replaces_its_own(file):
    plan = ServerConfig(fault_file=file(FILE), fault=["drop@1%"], fault_seed=7).fault_plan()
    assert (texts_of(plan), plan.seed) == ([*RULES, "drop@1%"], 7)


def test_a_ticket_is_a_plan_of_its_own():
    plan = ServerConfig(fault_ticket=TICKET).fault_plan()
    assert (texts_of(plan), plan.seed, plan.replayed) == (["reset"], 7, 1)


@pytest.mark.parametrize(("other", "text"), [("fault", "drop"), ("fault_seed", "5"), ("fault_file", "faults.toml")])
def test_a_ticket_can_not_be_combined(other, text):
    with pytest.raises(ConfigError) as refusal:
        load_config({"fault_ticket": TICKET, other: [text] if other == "fault" else text}, {})
    assert str(refusal.value) == f"--fault-ticket: can't be combined with {other}; the ticket has rules and seed"


def test_rules_in_the_environment_stand_on_lines():
    plan = load_config({}, {"ECHOSERVER_FAULT": "delay=5ms\nreset@10%"}).config.fault_plan()
    assert texts_of(plan) == ["delay=5ms", "reset@10%"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"fault": ["dealy=5ms"]}, "--fault: 'dealy=5ms': there is no kind of fault 'dealy'; did you mean 'delay'?"),
        (
            {"fault": ["drop", "drop"]},
            "--fault: 'drop' is given twice; give it once, with another share or value if it is ",
        ),
        ({"fault_seed": "-1"}, "--fault-seed: '-1' is refused: must be a whole number from 0 to 9223372036854775807"),
        (
            {"fault_ticket": "F1x"},
            "--fault-ticket: 'F1x' is a damaged ticket: copy it whole and unchanged from the log ",
        ),
    ],
)
def test_a_wrong_option_is_refused_on_one_line(flags, line):
    with pytest.raises(ConfigError) as refusal:
        load_config(flags, {})
    assert str(refusal.value).startswith(line)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", 'there must be at least one rule: [[fault]] and below it a line such as kind = "reset"'),
        ("fault = 1", "there must be at least one rule: "),
        ("sead = 1", "unknown key 'sead'; did you mean 'seed'?"),
        ("seed = -1", "seed must be a whole number from 0 to 9223372036854775807; 0 is one that is drawn"),
        ("seed = true", "seed must be a whole number"),
        ("[[fault]]", "fault 1: kind is missing; there are delay, throttle, "),
        ("[[fault]]\nkind = 'dealy'", "fault 1: there is no kind of fault 'dealy'; did you mean 'delay'?"),
        ("[[fault]]\nkind = 'drop@1%'", "fault 1: there is no kind of fault 'drop@1%'; did you mean 'drop'?"),
        ("[[fault]]\nkind = 'drop'\ntriger = '1%'", "fault 1: unknown key 'triger'; did you mean 'trigger'?"),
        (
            "[[fault]]\nkind = 'drop'\ntrigger = 1",
            "fault 1: trigger must be a text that is not empty; leave it out if ",
        ),
        ("[[fault]]\nkind = 'drop'\ntrigger = ''", "fault 1: trigger must be a text that is not empty; "),
        (
            "[[fault]]\nkind = 'delay'\nparameters = '5ms@1%'",
            "fault 1: '5ms@1%' must be parameters only; what follows @",
        ),
        ("[[fault]]\nkind = 'drop'\n[[fault]]\nkind = 'delay'", "fault 2: 'delay': delay needs parameters, such as "),
        ("[[fault]]\nkind = 'drop'\n[[fault]]\nkind = 'drop'", "'drop' is given twice; "),
        ("fault = ", "not a TOML file: Invalid value"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(content, problem, file):
    path = file(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(path)}: {re.escape(problem)}") as refusal:
        ServerConfig(fault_file=path).fault_plan()
    assert str(refusal.value).isprintable()


def test_a_missing_file_is_refused_with_its_option():
    with pytest.raises(ConfigError) as refusal:
        ServerConfig(fault_file="/nowhere/faults.toml").fault_plan()
    problem = "can't read '/nowhere/faults.toml': No such file or directory; must be a TOML file"
    assert str(refusal.value) == f"--fault-file: {problem}"


def test_rules_that_conflict_with_those_of_the_file_are_refused(file):
    with pytest.raises(ConfigError, match=r"^fault: 'reset@byte 1000' is given twice; "):
        ServerConfig(fault_file=file(FILE), fault=["reset@byte 1000"]).fault_plan()


@given(content=st.binary() | st.text().map(lambda text: f"[[fault]]\n{text}".encode()))
def test_any_file_is_read_or_refused_on_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        read_file(str(path), "--fault-file")
    except ConfigError as error:
        problem = str(error)
        assert problem.isprintable()


# -- the command `config`, and what is loaded


def test_config_shows_the_faults(file):
    path = file(FILE)
    finished = run("config", "--fault", "drop@1%", "--fault", "reset@10%", "--fault-seed", "5", "--fault-file", path)
    assert finished.returncode == 0, finished.stderr
    assert (
        'fault = [\n    "drop@1%",\n    "reset@10%",\n]  # --fault\nfault_seed = 5  # --fault-seed\n' in finished.stdout
    )
    assert f'fault_file = "{path}"  # --fault-file\n#   {RULES[0]}\n#   {RULES[1]}\n' in finished.stdout


def test_config_refuses_a_wrong_file(file):
    path = file("[[fault]]")
    finished = run("config", "--fault-file", path)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"echoserver: {path}: fault 1: kind is missing; ")
    assert finished.stderr.count("\n") == 1


def test_nothing_of_faults_is_loaded_without_rules():
    code = (
        "import sys; from echoserver import Server, ServerConfig; ServerConfig().fault_plan()\n"
        "import echoserver.cli.serve, echoserver.cli.faults\n"
        "print([name for name in sys.modules if name.startswith('echoserver.faults') or name == 'decimal'])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=20, check=True
    )
    assert finished.stdout == "[]\n"
