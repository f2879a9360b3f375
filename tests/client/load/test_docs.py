"""The transcripts of the sections `bench` and `report` of docs/client.md, replayed in order in one directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from echoclient.load import faults
from echoclient.load.command import bench
from echoclient.load.plan import Plan
from echoclient.load.result import Result

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
OURS = PAGE.partition("\n## bench\n")[2].partition("\n## Shell completion\n")[0]
BLOCKS = re.findall(r"^```console\n(.*?)^```", OURS, re.MULTILINE | re.DOTALL)
TRANSCRIPTS = [
    (command, shown)
    for block in BLOCKS
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


# Options that the page gives in another form.
OTHER_FORMS = {"--connections": "-c", "--size": "-s", "--messages": "-n", "--verify": "--no-verify"}


def masked(text: str) -> str:
    """Leave out what differs each time: figures, units, widths, and whether the machine was busy."""
    text = re.sub(r"^WARNING: .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"( and #% waiting for one)", "", re.sub(r"\d[\d.,]*", "#", text))
    return re.sub(r"[ \t]+", " ", re.sub(r"# (ns|us|ms|s)\b", "# t", text))


def test_every_transcript_prints_what_the_page_says(serve, scripts, tmp_path):
    program = tmp_path / "bin" / "echoclient"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom echoclient.cli import main\nmain()\n")
    program.chmod(0o755)
    ports = {"9000": serve(scripts.echo).port, "9001": serve(scripts.upper).port}
    assert len(TRANSCRIPTS) == 8
    for command, shown in TRANSCRIPTS:
        result = subprocess.run(
            ["bash", "-c", re.sub(r"\b(9000|9001)\b", lambda found: str(ports[found[1]]), command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            check=False,
            env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        )
        assert masked(result.stdout) == masked(shown), command


def test_the_page_names_every_option_kind_and_key():
    options = [option for parameter in bench.params for option in parameter.opts if option.startswith("--")]
    for option in options:
        shared = option == "--wait" or option.startswith(("--tls-", "--proxy-"))  # by all commands
        assert f"`{OTHER_FORMS.get(option, option)}" in (PAGE if shared else OURS), option
    for kind in (
        faults.TIMEOUT,
        faults.CLOSED,
        faults.SHORT,
        faults.CORRUPT,
        faults.EXTRA,
        "RESET",
        "REFUSED",
        "TLS",
        "OTHER",
    ):
        assert f"| `{kind}` |" in OURS


def test_the_page_names_every_key_of_the_json():
    values = json.loads(Result(Plan(), "", {}).to_json())
    for key in values.keys() - {"format"}:
        assert f"`{key}`" in OURS
