"""The command `echoserver faults`: kinds, explanations, pictures, and what it refuses."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given

from echoserver.faults.explaining import sentence
from echoserver.faults.kinds import KINDS
from echoserver.faults.picture import draw
from echoserver.faults.plan import Plan
from echoserver.faults.report import in_words, report
from echoserver.faults.rules import parse_rule
from faults.rule_kit import plan_of, rules
from server.command_kit import error_of
from support import run


def test_without_a_subcommand_it_lists_the_kinds_with_a_line_each():
    finished = run("faults")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [line.split()[0] for line in finished.stdout.splitlines()] == list(KINDS)
    assert "reset      reset@10%              end with an RST\n" in finished.stdout


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("delay=50ms", "Every connection: each reply waits 50 ms."),
        (
            "delay=50ms:10,1500ms:2@#3",
            "Every 3rd connection: each reply waits 50 ms in 10% of cases, 1.5 s in 2% of cases, "
            "and not at all in 88%.",
        ),
        ("delay=uniform(10ms,90ms)@msg 5", "Every connection: reply 5 waits 10 ms to 90 ms, all as likely."),
        ("delay=5ms@byte 1000", "Every connection: byte 1000 waits 5 ms."),
        ("delay=5ms@1%/msg", "Every connection: 1% of replies wait 5 ms."),
        (
            "delay=pareto(10ms,1.5)@2s..3s",
            "Every connection: each reply waits 10 ms or longer, as the Pareto distribution with shape 1.5 has it, "
            "while the connection is 2 s to 3 s old.",
        ),
        ("throttle=64kB/s@byte 1000", "Every connection: what follows byte 1000 is sent at 64kB/s at most."),
        (
            "slice=100..200,5ms@1%/msg",
            "Every connection: 1% of replies are sent in pieces of 100 to 200 bytes, 5 ms apart.",
        ),
        ("slice=64kB", "Every connection: each reply is sent in pieces of 64kB."),
        ("stall", "Every connection: nothing is taken or sent any more, before the first reply."),
        ("stall=5s@msg 2", "Every connection: nothing is taken or sent for 5 s, before reply 2."),
        ("stall@1s..5s", "Every connection: nothing is taken or sent for 4 s, from an age of 1 s."),
        ("reset", "Every connection: the connection is reset (the peer gets an RST), in place of the first reply."),
        ("close@after 2s", "Every connection: the server ends the connection in the orderly way, at an age of 2 s."),
        (
            "halfclose@1s..5s",
            "Every connection: the server ends its own side of the connection and goes on receiving, "
            "at an age that is drawn between 1 s and 5 s.",
        ),
        (
            "close@1%/msg,after 2s",
            "Every connection: the server ends the connection in the orderly way, in place of one of the replies, "
            "each with a chance of 1%, while the connection is at least 2 s old.",
        ),
        ("corrupt=0.1%@byte 50", "Every connection: 0.1% of the bytes from byte 50 on are changed."),
        ("corrupt=1%@1%/msg", "Every connection: 1% of the bytes of 1% of replies are changed."),
        ("corrupt@msg 5", "Every connection: one byte of reply 5 is changed."),
        ("corrupt@byte 5", "Every connection: byte 5 is changed."),
        ("drop@12.5%", "12.5% of connections: each reply is never sent."),
        ("duplicate@#111", "Every 111th connection: each reply is sent twice."),
        ("refuse@#2", "Every 2nd connection: the server closes the connection when it accepts it."),
    ],
)
def test_a_rule_in_words(rule, words):
    assert sentence(parse_rule(rule)) == words


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("reset", ["reset in place of reply 1"]),
        ("stall=5s@byte 64kB", ["stall 5 s after 64000 bytes"]),
        ("close@after 2s", ["close at 2 s"]),
        ("throttle=1kB/s", ["throttle every reply"]),
        ("throttle=1kB/s@msg 2", ["throttle reply 2"]),
        ("drop@msg 7000", ["drop reply 7000"]),
        ("delay=5ms@byte 10", ["delay 5 ms before byte 10"]),
        ("delay=5ms@msg 2,after 1s", ["delay reply 2 by 5 ms if the connection is at least 1 s old then"]),
        ("refuse@#1", ["refuse at accept"]),
        ("slice=9,1ms", ["slice reply 1 into pieces of 9, 9, 9, 9, 9 ... bytes"]),
        ("corrupt=0.1%", ["corrupt at byte 1210 (exclusive or with 0x78)"]),
    ],
)
def test_what_one_connection_draws(rule, lines):
    (of_rule,) = report(plan_of(rule, seed=42), 3)["rules"]
    assert [draw["text"] for draw in of_rule["draws"]][: len(lines)] == lines


@given(rule=rules)
def test_every_rule_can_be_explained_and_drawn(rule):
    plan = Plan([rule], 1)
    text = in_words(report(plan, 1))
    assert text.startswith(f"{rule}\n    ")
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_well_formed(kind):
    plan = plan_of(KINDS[kind].example, "reset@1s..5s,1%", "corrupt@msg 2", "drop@0.000001%")
    root = ElementTree.fromstring(draw(plan))
    assert root.get("viewBox", "").startswith("0 0 ")


def test_json_has_what_the_words_say():
    texts = ("reset@10%", "delay=normal(50ms,10ms)")
    finished = run("faults", "explain", *texts, "--seed", 42, "--connection", 1, "--json")
    found = json.loads(finished.stdout)
    assert found == report(plan_of(*texts, seed=42), 1)
    assert found["rules"][1]["draws"][0] == {
        "text": "delay reply 1 by 58.793 ms",
        "reply": 1,
        "at": None,
        "age": None,
        "seconds": 0.058793,
    }


def test_a_file_is_explained_with_its_seed(tmp_path):
    (tmp_path / "faults.toml").write_text('seed = 42\n[[fault]]\nkind = "reset"\ntrigger = "10%"\n')
    of_file = run("faults", "explain", "--file", "faults.toml", cwd=tmp_path)
    assert of_file.stdout == run("faults", "explain", "reset@10%", "--seed", 42).stdout
    assert of_file.stdout != run("faults", "explain", "reset@10%").stdout


def test_a_connection_that_meets_nothing():
    finished = run("faults", "explain", "refuse@#5000", "--connection", 1)
    assert finished.stdout.splitlines()[2:] == [
        "    With seed 1, none of the first 1000 connections",
        "Connection 1 with seed 1 meets no fault.",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["dealy=5ms"], "explain: 'dealy=5ms': there is no kind of fault 'dealy'; did you mean 'delay'?"),
        (
            ["drop", "drop"],
            "explain: 'drop' is given twice; give it once, with another share or value if it is meant to ",
        ),
        (["F1abc"], "explain: 'F1abc' is a damaged ticket: copy it whole and unchanged from the log line"),
        (["F1abc", "drop"], "explain: a ticket can't be combined with rules, a file or a seed; it has rules and seed"),
        (["F1LrS3VqSq1T17vR", "--connection", "2"], "--connection: can't be combined with a ticket, which is for one "),
        (
            ["F1LrS3VqSq1T17vR", "--plot", "x.svg"],
            "--plot: can't be combined with a ticket, which is for one connection",
        ),
        (["drop", "--seed", "-1"], "--seed: -1 is refused: must be a whole number from 0 to 9223372036854775807"),
        (["drop", "--connection", "0"], "--connection: 0 is refused: must be a whole number from 1"),
        (["drop", "--plot", "/nowhere/x.svg"], "--plot: can't write '/nowhere/x.svg': No such file or directory"),
        (["--file", "/nowhere/x.toml"], "--file: can't read '/nowhere/x.toml': No such file or directory; must be a "),
    ],
)
def test_what_is_refused(arguments, line):
    finished = run("faults", "explain", *arguments)
    assert finished.returncode == 2
    assert error_of(finished).startswith(f"echoserver: {line}")
