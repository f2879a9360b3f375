"""The picture of the packages is the one that their imports give, and it shows what it promises."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from support import ROOT, environment

SCRIPT = ROOT / "docs" / "draw_packages.py"
_spec = importlib.util.spec_from_file_location("draw_packages", SCRIPT)
drawing = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = drawing  # dataclasses look their module up
_spec.loader.exec_module(drawing)


def write(folder: Path, **sources: str) -> Path:
    """Write a package `sample` of modules; `a__b` is the module `b` of the subpackage `a`."""
    for name, source in {"__init__": "", **sources}.items():
        inner = name if name.startswith("__") else name.replace("__", "/")
        path = folder / "sample" / f"{inner}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder / "sample"


def test_the_committed_picture_is_current():
    checked = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, env=environment(), check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_every_import_counts_wherever_it_is_and_implied_ones_are_not_drawn(tmp_path):
    source = write(
        tmp_path,
        low="",
        middle__one="def late():\n    import sample.low\n",
        middle__two="from sample.middle import one\n",
        high="from sample import low\nfrom sample.middle.one import late\nimport os\n",
    )
    graph, modules = drawing.read_graph(source)
    assert graph == {"__init__.py": set(), "high.py": {"low.py", "middle/"}, "low.py": set(), "middle/": {"low.py"}}
    assert modules == {"middle/": ["one", "two"]}
    assert drawing.without_implied(graph)["high.py"] == {"middle/"}


def test_arrows_point_down_and_boxes_do_not_overlap(tmp_path):
    # A long arrow from `top` to `low` passes two layers, which have boxes of several widths and heights.
    source = write(
        tmp_path,
        low="",
        side="",
        a__one="import sample.low\n",
        b__one="import sample.a.one\n",
        c__one="import sample.side\n",
        top="import sample.b.one\nimport sample.c.one\n",
    )
    layers = drawing.lay_out(drawing.without_implied(drawing.read_graph(source)[0]), {})
    for nodes in layers:
        assert all(below.layer == node.layer - 1 for node in nodes for below in node.below)
        for left, right in pairwise(nodes):
            assert left.x + left.width / 2 < right.x - right.width / 2
    root = ET.fromstring(drawing.draw(source))
    width = float(root.get("viewBox").split()[2])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert -width / 2 <= float(box.get("x", 0)) <= width / 2
    names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "name"]
    assert sorted(names) == ["__init__.py", "a/", "b/", "c/", "low.py", "side.py", "top.py"]


def test_the_picture_does_not_depend_on_the_order_of_sets(tmp_path):
    write(tmp_path, low="", **{f"m{number}": "import sample.low\n" for number in range(8)})
    code = "import sys, pathlib, draw_packages; sys.stdout.write(draw_packages.draw(pathlib.Path('sample')))"
    pictures = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(SCRIPT.parent), PYTHONHASHSEED=str(seed)),
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(pictures) == 1


def test_packages_that_import_one_another_are_refused_by_name(tmp_path, monkeypatch):
    source = write(tmp_path, a__one="import sample.b.one\n", b__one="import sample.a.one\n")
    monkeypatch.setattr(drawing, "SOURCE", source)
    message = drawing.main(["--check"])
    assert re.fullmatch(r"packages import one another: (a/ -> b/ -> a/|b/ -> a/ -> b/); .*", message)


@pytest.mark.parametrize("arguments", [["--chekc"], ["--check", "twice"]])
def test_a_wrong_argument_is_refused(arguments):
    assert "usage" in drawing.main(arguments)
