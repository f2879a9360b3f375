"""From samples to figures, tables and the chart: everything that needs no server."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from bench import campaign as campaign_module
from bench.campaign import Campaign, Settings, carry_out
from bench.cells import CELLS
from bench.chart import draw
from bench.counting import Cost, measure, without_tally
from bench.measure import Sample
from bench.servers import SERVERS, ServerFailedError
from bench.summary import summarise
from bench.tables import details, notes, overview, terminal_report

CELL = CELLS["64x64"]
LATENCY = {50.0: 0.001, 99.0: 0.002, 99.9: 0.003}


def samples(*values: float, bound: int = 0) -> list[Sample]:
    """Return a sample for each value, of which the first few were bound."""
    return [Sample(value, LATENCY, bound=index < bound) for index, value in enumerate(values)]


def campaign(cells=(CELL,), left_out=None, **of_servers: list[Sample]) -> Campaign:
    servers = [SERVERS[name.replace("_", "-")] for name in of_servers]
    settings = Settings(cells, servers, rounds=3, seconds=1.0, base="socketserver")
    measured = {cell.name: {name.replace("_", "-"): list(of_servers[name]) for name in of_servers} for cell in cells}
    return Campaign(settings, measured, left_out or {})


def entries_of(made: Campaign, cell=CELL):
    return {entry.server: entry for entry in summarise(made, cell)}


def test_medians_spread_and_ratios_of_what_was_measured_in_the_same_round():
    # The machine was twice as fast in the second round: the ratios don't notice.
    entries = entries_of(campaign(threads=samples(150, 330, 140), socketserver=samples(100, 200, 100)))
    threads = entries["threads"]
    assert (threads.value, threads.low, threads.high) == (150, 140, 330)
    assert threads.ratio == 1.5
    assert entries["socketserver"].ratio == 1
    assert threads.latency == LATENCY


def test_entries_are_ranked_from_the_best_and_the_unranked_come_last():
    made = campaign(threads=samples(1, 1, 1), uvloop=samples(9, 9, 9, bound=3), socketserver=samples(2, 2, 2))
    assert [entry.server for entry in summarise(made, CELL)] == ["socketserver", "threads", "uvloop"]


def test_where_less_is_better_the_least_is_ranked_first():
    cell = CELLS["idle-5000"]
    made = campaign([cell], threads=samples(1, 1, 1), socketserver=samples(2, 2, 2))
    assert [entry.server for entry in summarise(made, cell)] == ["threads", "socketserver"]


@pytest.mark.parametrize(("bound", "is_bound"), [(0, False), (1, False), (2, True), (4, True)])
def test_half_the_rounds_bound_is_bound(bound, is_bound):
    entries = entries_of(campaign(threads=samples(1, 2, 3, 4, bound=bound), socketserver=samples(1, 1, 1, 1)))
    assert entries["threads"].bound is is_bound


def test_nobody_is_compared_with_a_base_that_was_bound():
    made = campaign(threads=samples(1, 2, 3), uvloop=samples(7, 8, 9, bound=3), socketserver=samples(4, 5, 6, bound=3))
    assert {entry.ratio for entry in entries_of(made).values()} == {None}
    assert overview(made)[-1].endswith("| – | † | † |")


def test_a_failed_round_is_left_out_on_both_sides_of_a_ratio_and_told():
    failed = Sample(problem="3 RESET")
    made = campaign(threads=[*samples(10), failed, *samples(30)], socketserver=[*samples(10, 1), failed])
    threads = entries_of(made)["threads"]
    assert (threads.value, threads.rounds, threads.ratio) == (20, 2, 1)
    assert notes(made) == [
        "64 connections × 64 B, threads: failed in 1 of 3 rounds: 3 RESET",
        "64 connections × 64 B, socketserver: failed in 1 of 3 rounds: 3 RESET",
    ]


def test_upper_stands_beside_echo():
    upper, echo = CELLS["upper"], CELLS["16x64"]
    made = campaign([echo, upper], threads=samples(100, 200), socketserver=samples(100, 100))
    made.samples["upper"]["threads"] = samples(90, 160)
    assert entries_of(made, upper)["threads"].beside == pytest.approx(0.85)
    assert entries_of(made, echo)["threads"].beside is None
    (header,) = [line for line in details(made) if "× its own echo" in line]
    assert header.count("|") == next(line for line in details(made) if "**threads**" in line and "0.85" in line).count(
        "|"
    )


def test_every_row_of_a_table_has_as_many_columns_as_its_header():
    failed = [Sample(problem="gone")] * 3
    cells = [CELL, CELLS["upper"], CELLS["start"], CELLS["idle-5000"]]
    made = campaign(cells, threads=samples(1, 2, 3), uvloop=failed, socketserver=samples(1, 2, 3, bound=3))
    for cell in ("start", "idle-5000"):
        for measured in made.samples[cell].values():
            measured[:] = [replace(sample, latency={}) for sample in measured]
    for lines in (list(details(made)), overview(made)):
        for table in "\n".join(lines).split("###"):
            widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
            assert len(widths) <= 1, table


def test_a_bound_figure_is_marked_and_explained_and_has_no_rank():
    made = campaign(threads=samples(5000, 5000, 5000, bound=3), socketserver=samples(1, 1, 1))
    (line,) = [line for line in details(made) if "**threads**" in line]
    assert line.startswith("|  | **threads** | ≥ 5,000 † | 5,000 to 5,000 | ≥ 5000.00 † |")
    assert overview(made)[-1].endswith("| ≥ 5000.00 † | 1.00 |")
    assert "× ≥ 5000.00<" in draw(made)
    assert len(notes(made)) == 1
    assert "† The load generator was the limit" in terminal_report(made)
    assert "dashed" in draw(made)


def test_what_this_machine_cannot_do_is_told():
    made = campaign(left_out={"idle-9000": "the limit is 1,024"}, threads=[], socketserver=[])
    assert notes(made) == ["9,000 idle connections: left out, the limit is 1,024"]


def test_the_chart_has_a_bar_for_each_figure_within_its_panel():
    cells = [CELLS[name] for name in ("1x64", "64x64", "4x64k", "churn")]
    made = campaign(cells, threads=samples(5, 6, 7), gevent=samples(1e-3, 2e-3, 3e-3), socketserver=samples(3, 3, 3))
    root = ET.fromstring(draw(made))
    spaces = {"svg": "http://www.w3.org/2000/svg"}
    panels = root.findall("svg:g", spaces)
    assert len(panels) == len(cells)
    for panel in panels:
        bars = panel.findall("svg:rect", spaces)
        assert [bar.get("class") for bar in bars] == ["threads", "peer", "base"]
        assert all(0 < float(bar.get("width")) <= 128 for bar in bars)
    width, height = map(float, root.get("viewBox").split()[2:])
    places = [tuple(map(float, re.findall(r"[\d.]+", panel.get("transform")))) for panel in panels]
    assert len(set(places)) == len(cells)
    assert all(x < width - 300 and y < height - 100 for x, y in places)


def test_rounds_are_interleaved_and_the_first_server_changes(monkeypatch):
    order = []
    monkeypatch.setattr(
        campaign_module, "measure", lambda cell, server, seconds: order.append(server.name) or Sample(1.0)
    )
    made = campaign([CELLS["1x64"], CELLS["idle-9000"]], threads=[], workers=[], socketserver=[])
    shares = []
    carry_out(made, lambda number, cell, server, share: shares.append((number, share)))
    assert order[:6] == ["threads", "workers", "socketserver"] * 2
    # The second cell takes part in the first round only.
    assert order[6:] == ["workers", "socketserver", "threads", "socketserver", "threads", "workers"]
    assert [number for number, _ in shares] == [1] * 6 + [2] * 3 + [3] * 3
    assert shares[0][1] == 0
    assert sorted(share for _, share in shares) == [share for _, share in shares]
    assert shares[-1][1] < 1


def test_a_server_that_fails_costs_its_own_sample_only(monkeypatch):
    def fail(cell, server, seconds):
        if server.name == "workers":
            raise ServerFailedError("ended with status 1")
        return Sample(1.0)

    monkeypatch.setattr(campaign_module, "measure", fail)
    made = campaign([CELLS["1x64"]], threads=[], workers=[])
    carry_out(made, lambda *_: None)
    assert made.samples["1x64"]["threads"] == [Sample(1.0)] * 3
    assert made.samples["1x64"]["workers"] == [Sample(problem="ended with status 1")] * 3


def test_a_cell_beyond_the_descriptor_limit_is_left_out(monkeypatch):
    monkeypatch.setattr("bench.measure.resource.getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(campaign_module, "measure", lambda *_: Sample(1.0))
    made = campaign([CELLS["1x64"], CELLS["idle-5000"]], threads=[])
    carry_out(made, lambda *_: None)
    assert made.left_out == {
        "idle-5000": "5,000 connections need 5,064 open files, and the limit is 1,024 (ulimit -Hn)"
    }
    assert made.samples["idle-5000"] == {"threads": []}
    assert len(made.samples["1x64"]["threads"]) == 3


# -- what counting costs


def test_a_connection_without_its_tally_does_the_same_and_counts_nothing():
    from bench.counting import _connection, _FakeSocket
    from echoserver.net.buffer import ReceiveBuffer
    from echoserver.serving.nonblocking import NonBlockingConnection, Wants

    for of_class, counted in ((NonBlockingConnection, 64), (without_tally(), 0)):
        served = _connection(of_class, _FakeSocket())
        assert served.turn(ReceiveBuffer()).name == Wants.READ.name
        assert served.stats.bytes_in == served.stats.bytes_out == counted


def test_the_cost_of_counting_is_a_share_of_the_whole():
    assert Cost(2e-7, 1e-5).share == pytest.approx(0.02)


@pytest.mark.stress
def test_counting_costs_at_most_three_percent():
    assert measure().share <= 0.03
