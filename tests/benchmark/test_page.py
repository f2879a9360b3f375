"""The committed page and chart have the texts that the generator writes today; only their figures are older."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from bench.page import BEGIN, END, server_line
from bench.servers import SERVERS
from bench.tables import unit_title
from bench.workloads import WORKLOADS
from support import ROOT

PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
GENERATED = PAGE.partition(BEGIN)[2].partition(END)[0]
CHART = {text.text for text in ET.parse(ROOT / "docs" / "benchmarks.svg").iter("{http://www.w3.org/2000/svg}text")}


def test_every_server_is_explained():
    explained = GENERATED.partition("The servers:\n\n")[2].partition("\n\n")[0]
    assert explained.splitlines() == [server_line(server) for server in SERVERS.values()]


def test_every_workload_has_a_section_in_order():
    assert re.findall(r"^### (.+)$", GENERATED, re.MULTILINE) == [workload.title for workload in WORKLOADS.values()]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_titles_and_units_are_those_of_the_workloads(workload):
    section = GENERATED.partition(f"### {workload.title}\n\n")[2]
    assert section.startswith(f"| # |  | {unit_title(workload)} | min to max | × ")
    direction = "more is better" if workload.more_is_better else "less is better"
    assert {workload.title, f"{workload.unit}, {direction}"} <= CHART
