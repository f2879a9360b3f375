"""The page of one result, and of several side by side."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from client.load.results import broken, measured
from echoclient.load.html_page import html_page
from echoclient.load.plan import Plan
from echoclient.load.result import Result


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects the text of the page and what it would load."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


@pytest.mark.parametrize(
    "results",
    [
        [("one", measured())],
        [("one", measured(Plan(rate=100.0)))],
        [("one", broken())],
        [("empty", Result(Plan(), "", {}, failures=["it was killed"]))],
        [(f"run {index}", measured(Plan(churn=True), seconds=index + 1)) for index in range(10)],
        [("one", measured()), ("nothing", Result(Plan(rate=3.0), "", {}))],
    ],
    ids=lambda results: f"{len(results)}-{results[0][0]}",
)
def test_a_page_needs_nothing_else_and_is_whole(results):
    text = html_page(results)
    reader = Reader(text)
    assert reader.open == []
    assert not reader.links
    assert not re.search(r"https?://|@import|url\(", text)
    assert reader.tags["svg"] == 2 + len(results)
    assert not re.search(r"\bnan\b|\binf\b", re.sub("<style>.*</style>", "", text, flags=re.DOTALL))
    said = " ".join(reader.said)
    for words in ("Latency by percentile", "Latency over time", "Throughput over time", "Parameters", "seed"):
        assert words in said


def test_a_page_says_what_went_wrong():
    said = " ".join(Reader(html_page([("one", broken())])).said)
    assert "Not everything was done as asked: 5 CORRUPT, 5 without a reply" in said
    assert "reply byte 1,000,003" in said


def test_names_on_a_page_are_text():
    evil = '<script>alert(1)</script>&".json'
    text = html_page([(evil, measured()), ("b", measured())])
    assert "<script" not in text
    assert evil in " ".join(Reader(text).said)


def test_a_comparison_gives_ratios_to_the_first():
    slower = dataclasses.replace(measured(), elapsed=6.0)
    said = Reader(html_page([("a", measured()), ("b", slower)])).said
    assert "\N{MULTIPLICATION SIGN}0.50" in said
