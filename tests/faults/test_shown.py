"""The page on faults shows what a peer sees of each kind, which a script has found out."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from echoserver.faults.kinds import KINDS
from support import PATIENCE, ROOT, environment

SCRIPT = ROOT / "docs" / "show_faults.py"
PAGE = ROOT / "docs" / "faults.md"
LINE = re.compile(r" *([0-9.]+) ms  (.*)")


def blocks(text):
    """Return the lines of each rule's transcript: the time in ms, and what was seen."""
    found = re.findall(r"^`([^`\n]+)`\n\n```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return {
        rule: [(float(time), seen) for time, seen in (LINE.fullmatch(line).groups() for line in lines.splitlines())]
        for rule, lines in found
    }


def joined(transcript):
    """Leave out the times, and join what came in pieces: how many one call gets is a matter of timing."""
    lines = []
    for _, line in transcript:
        what = re.fullmatch(r"< (\d+) bytes(?:  ['\"](.*)['\"])?", line)
        if what is None:
            lines.append(line)
            continue
        size, text = int(what[1]), what[2] or ""
        if lines and isinstance(lines[-1], tuple):
            before, beginning = lines.pop()
            size, text = before + size, beginning + text
        lines.append((size, text))
    return lines


@pytest.fixture(scope="module")
def seen():
    finished = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, timeout=3 * PATIENCE, env=environment(), check=True
    )
    assert finished.stderr == ""
    return blocks(finished.stdout)


@pytest.fixture(scope="module")
def shown():
    return blocks(PAGE.read_text())


def test_every_kind_is_shown_in_the_order_of_the_table(shown):
    assert [re.match("[a-z]+", rule)[0] for rule in shown] == list(KINDS)


def test_the_page_has_what_the_peer_sees(seen, shown):
    assert {rule: joined(lines) for rule, lines in seen.items()} == {
        rule: joined(lines) for rule, lines in shown.items()
    }


@pytest.mark.parametrize("where", ["seen", "shown"])
def test_what_takes_time_takes_as_long_as_the_rule_says(where, request):
    transcripts = request.getfixturevalue(where)

    def last_bytes(kind):
        (lines,) = (lines for rule, lines in transcripts.items() if rule.startswith(kind))
        return max(time for time, what in lines if what.startswith("< ") and "bytes" in what)

    assert last_bytes("delay=50ms") >= 50
    assert last_bytes("throttle=20kB/s") >= 75  # 2000 bytes, of which the first part is sent at once
    assert last_bytes("slice=1000..1500,20ms") >= 40  # 4000 bytes are three pieces at least
    assert last_bytes("stall=300ms") >= 300


def test_it_is_written_into_the_page(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("show_faults", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "show_faults", script)  # where `dataclass` looks it up
    spec.loader.exec_module(script)
    page = tmp_path / "faults.md"
    page.write_text("before\n<!-- python docs/show_faults.py --write -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(script, "PAGE", page)
    monkeypatch.setattr(script, "EXCHANGES", script.EXCHANGES[-1:])
    monkeypatch.setattr(sys, "argv", ["show_faults.py", "--write"])
    script.main()
    assert re.sub(r" *[0-9.]+ ms", "    ? ms", page.read_text()) == (
        "before\n<!-- python docs/show_faults.py --write -->\n"
        "\n`refuse`\n\n```text\n    ? ms  < FIN\n    ? ms  > FIN\n```\n\n<!-- end -->\nafter\n"
    )
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="has no place for it"):
        script.main()
