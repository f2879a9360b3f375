"""The committed page and chart have the texts that the generator writes today; only their figures are older."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from bench.page import BEGIN, END, server_line
from bench.servers import SERVERS
from bench.tables import cpu_title, unit_title
from bench.workloads import WORKLOADS
from support import ROOT

PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
GENERATED = PAGE.partition(BEGIN)[2].partition(END)[0]
CHART = {text.text for text in ET.parse(ROOT / "docs" / "benchmarks-all.svg").iter("{http://www.w3.org/2000/svg}text")}


def test_every_server_is_explained():
    explained = GENERATED.partition("The servers:\n\n")[2].partition("\n\n")[0]
    assert explained.splitlines() == [server_line(server) for server in SERVERS.values()]


def test_every_workload_has_a_section_in_order():
    assert re.findall(r"^### (.+)$", GENERATED, re.MULTILINE) == [workload.title for workload in WORKLOADS.values()]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_titles_and_units_are_those_of_the_workloads(workload):
    section = GENERATED.partition(f"### {workload.title}\n\n")[2]
    loaded = workload.kind in ("load", "churn")
    assert section.startswith(f"| # |  | {cpu_title(workload) if loaded else unit_title(workload)} | min to max | × ")
    assert unit_title(workload) in section.partition("\n")[0]
    assert {workload.title, workload.cpu_unit if loaded else workload.unit} <= CHART


def test_the_page_begins_with_a_picture_and_three_sentences():
    begin = PAGE.splitlines()
    assert begin[0] == "# Benchmarks"
    picture = GENERATED.strip().splitlines()
    assert picture[0] == "![What one message costs each server](benchmarks.svg)"
    assert [line[-1] for line in picture[2:5]] == ["."] * 3
    assert picture[5] == ""
    ET.parse(ROOT / "docs" / "benchmarks.svg")
