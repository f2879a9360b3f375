"""From samples to figures, tables and the chart: everything that can be tested without a server."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from bench import benchmark as benchmark_module
from bench.benchmark import Benchmark, Settings, run
from bench.chart import draw
from bench.counting import Cost, FakeSocket, make_driver, measure, without_counting
from bench.picture import draw_picture, sentences
from bench.running import ServerFailedError
from bench.sample import Sample
from bench.servers import SERVERS
from bench.summary import Figures, summarise
from bench.tables import details, notes, overview, terminal_report
from bench.workloads import WORKLOADS
from echoserver.net.buffer import ReceiveBuffer
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver

WORKLOAD = WORKLOADS["64x64"]
LATENCY = {50.0: 0.001, 99.0: 0.002, 99.9: 0.003}


def samples(*values: float, bound: int = 0, cpu: float | None = None) -> list[Sample]:
    """Return a sample for each value; the first `bound` of them are generator-bound."""
    return [Sample(value, cpu, LATENCY, generator_bound=index < bound) for index, value in enumerate(values)]


def benchmark(workloads=(WORKLOAD,), skipped=None, **of_servers: list[Sample]) -> Benchmark:
    settings = Settings(workloads, [SERVERS[name] for name in of_servers], 3, seconds=1.0, baseline="socketserver")
    measured = {workload.name: {name: list(of_servers[name]) for name in of_servers} for workload in workloads}
    return Benchmark(settings, measured, skipped or {})


def results_of(made: Benchmark, workload=WORKLOAD):
    return {result.server: result for result in summarise(made, workload)}


def test_medians_ranges_and_ratios_within_each_round():
    # The machine was twice as fast in the second round. The ratios are not affected.
    results = results_of(benchmark(threads=samples(150, 330, 140), socketserver=samples(100, 200, 100)))
    threads = results["threads"]
    assert threads.figures == Figures(median=150, low=140, high=330, rounds=3, ratio=1.5)
    assert results["socketserver"].figures.ratio == 1
    assert threads.cpu is None
    assert threads.latency == LATENCY


def test_without_processor_time_the_fastest_comes_first():
    made = benchmark(threads=samples(1, 1, 1), uvloop=samples(9, 9, 9), socketserver=samples(2, 2, 2))
    assert [result.server for result in summarise(made, WORKLOAD)] == ["uvloop", "socketserver", "threads"]


def test_the_lowest_processor_time_comes_first_however_fast_the_generator_was():
    made = benchmark(
        threads=samples(9, 9, 9, cpu=8.0),
        uvloop=samples(5, 5, 5, cpu=6.0, bound=3),
        gevent=[Sample(problem="gone")] * 3,
        socketserver=samples(2, 2, 2, cpu=12.0),
    )
    results = summarise(made, WORKLOAD)
    assert [result.server for result in results] == ["uvloop", "threads", "socketserver", "gevent"]
    assert [result.cpu.ratio for result in results[:3]] == pytest.approx([0.5, 2 / 3, 1])
    assert overview(made)[-1].endswith("| 0.67 | 0.50 | failed | 1.00 |")


def test_where_less_is_better_the_lowest_is_ranked_first():
    workload = WORKLOADS["idle-5000"]
    made = benchmark([workload], threads=samples(1, 1, 1), socketserver=samples(2, 2, 2))
    assert [result.server for result in summarise(made, workload)] == ["threads", "socketserver"]


@pytest.mark.parametrize(("bound", "is_bound"), [(0, False), (1, False), (2, True), (4, True)])
def test_a_result_is_bound_if_half_of_its_rounds_are(bound, is_bound):
    results = results_of(benchmark(threads=samples(1, 2, 3, 4, bound=bound), socketserver=samples(1, 1, 1, 1)))
    assert results["threads"].generator_bound is is_bound


def test_a_failed_round_is_excluded_from_both_sides_of_a_ratio_and_reported():
    failed = Sample(problem="3 RESET")
    made = benchmark(threads=[*samples(10), failed, *samples(30)], socketserver=[*samples(10, 1), failed])
    threads = results_of(made)["threads"]
    assert threads.figures == Figures(median=20, low=10, high=30, rounds=2, ratio=1)
    assert notes(made) == [
        "64 connections × 64 B, threads: failed in 1 of 3 rounds: 3 RESET",
        "64 connections × 64 B, socketserver: failed in 1 of 3 rounds: 3 RESET",
    ]


def test_upper_is_compared_with_echo():
    upper, echo = WORKLOADS["upper"], WORKLOADS["16x64"]
    made = benchmark([echo, upper], threads=samples(100, 200), socketserver=samples(100, 100))
    made.samples["upper"]["threads"] = samples(90, 160)
    assert results_of(made, upper)["threads"].reference_ratio == pytest.approx(0.85)
    assert results_of(made, echo)["threads"].reference_ratio is None
    (header,) = [line for line in details(made) if "× its own echo" in line]
    row = next(line for line in details(made) if "**threads**" in line and "0.85" in line)
    assert header.count("|") == row.count("|")


def test_every_row_of_a_table_has_as_many_columns_as_its_header():
    failed = [Sample(problem="gone")] * 3
    workloads = [WORKLOAD, WORKLOADS["upper"], WORKLOADS["start"], WORKLOADS["idle-5000"], WORKLOADS["churn"]]
    made = benchmark(workloads, threads=samples(1, 2, 3), uvloop=failed, socketserver=samples(1, 2, 3, bound=3))
    made.samples["churn"] = {name: samples(1, 2, 3, cpu=5.0) for name in ("threads", "socketserver")}
    for name in ("start", "idle-5000"):
        for measured in made.samples[name].values():
            measured[:] = [replace(sample, latency={}) for sample in measured]
    for lines in (list(details(made)), overview(made)):
        for table in "\n".join(lines).split("###"):
            widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
            assert len(widths) <= 1, table


def test_a_bound_figure_is_marked_and_explained_and_keeps_its_rank():
    made = benchmark(threads=samples(5000, 5000, 5000, bound=3, cpu=2.0), socketserver=samples(1, 1, 1, cpu=4.0))
    (line,) = [line for line in details(made) if "**threads**" in line]
    assert line.startswith("| 1 | **threads** | 2.00 | 2.00 to 2.00 | 0.50 | ≥ 5,000 † | 5,000 to 5,000 | 5000.00 |")
    assert len(notes(made)) == 1
    assert "† The load generator had no time to spare" in terminal_report(made)


def test_a_workload_that_this_machine_cannot_run_is_reported():
    made = benchmark(skipped={"idle-5000": "the limit is 1,024"}, threads=[], socketserver=[])
    assert notes(made) == ["5,000 idle connections: skipped: the limit is 1,024"]


def test_the_chart_has_a_bar_for_each_figure_within_its_panel():
    workloads = [WORKLOADS[name] for name in ("1x64", "64x64", "4x64k", "churn")]
    made = benchmark(
        workloads, threads=samples(5, 6, 7), gevent=samples(1e-3, 2e-3, 3e-3), socketserver=samples(3, 3, 3)
    )
    root = ET.fromstring(draw(made))
    spaces = {"svg": "http://www.w3.org/2000/svg"}
    panels = root.findall("svg:g", spaces)
    assert len(panels) == len(workloads)
    for panel in panels:
        bars = panel.findall("svg:rect", spaces)
        assert [bar.get("class") for bar in bars] == ["threads", "peer", "base"]
        assert all(0 < float(bar.get("width")) <= 128 for bar in bars)
    width, height = map(float, root.get("viewBox").split()[2:])
    places = [tuple(map(float, re.findall(r"[\d.]+", panel.get("transform")))) for panel in panels]
    assert len(set(places)) == len(workloads)
    assert all(x < width - 300 and y < height - 100 for x, y in places)


def test_the_picture_ranks_the_servers_and_the_sentences_name_their_figures():
    costs = {"threads": 9.0, "workers": 6.0, "asyncio": 7.0, "uvloop": 5.5, "c-epoll": 4.5, "socketserver": 20.0}
    made = benchmark(**{name: samples(1, 1, 1, cpu=cost) for name, cost in costs.items()})
    root = ET.fromstring(draw_picture(made))
    bars = root.findall("{http://www.w3.org/2000/svg}rect")[1:]
    assert [bar.get("class") for bar in bars] == ["native", "peer", "workers", "peer", "threads", "base"]
    lengths = [float(bar.get("width")) for bar in bars]
    assert lengths == sorted(lengths)
    text = " ".join(sentences(made))
    assert len(sentences(made)) == 3
    assert all(f"{cost:.2f} µs" in text for name, cost in costs.items() if name != "socketserver")


def test_without_processor_time_there_is_no_picture():
    made = benchmark(threads=samples(1, 2, 3), socketserver=samples(1, 2, 3))
    assert draw_picture(made) == ""
    assert sentences(made) == []


def test_only_the_servers_that_serve_tls_take_part_in_its_workloads(monkeypatch):
    order = []
    monkeypatch.setattr(benchmark_module, "_why_impossible", lambda _: "")
    monkeypatch.setattr(benchmark_module, "measure", lambda _, server, __: order.append(server.name) or Sample(1.0))
    made = benchmark([WORKLOADS["tls-64x64"]], threads=[], socketserver=[], asyncio=[])
    run(made, lambda *_: None)
    assert order == ["threads", "asyncio", "asyncio", "threads", "threads", "asyncio"]


def test_rounds_are_interleaved_and_the_first_server_changes(monkeypatch):
    order = []
    monkeypatch.setattr(benchmark_module, "measure", lambda _, server, __: order.append(server.name) or Sample(1.0))
    made = benchmark(
        [WORKLOADS["1x64"], replace(WORKLOADS["idle-5000"], max_rounds=1)], threads=[], workers=[], socketserver=[]
    )
    shares = []
    run(made, lambda number, workload, server, share: shares.append((number, share)))
    assert order[:6] == ["threads", "workers", "socketserver"] * 2
    # The second workload takes part in the first round only.
    assert order[6:] == ["workers", "socketserver", "threads", "socketserver", "threads", "workers"]
    assert [number for number, _ in shares] == [1] * 6 + [2] * 3 + [3] * 3
    assert shares[0][1] == 0
    assert sorted(share for _, share in shares) == [share for _, share in shares]
    assert shares[-1][1] < 1


def test_a_server_that_fails_costs_its_own_sample_only(monkeypatch):
    def fail(workload, server, seconds):
        if server.name == "workers":
            raise ServerFailedError("ended with status 1")
        return Sample(1.0)

    monkeypatch.setattr(benchmark_module, "measure", fail)
    made = benchmark([WORKLOADS["1x64"]], threads=[], workers=[])
    run(made, lambda *_: None)
    assert made.samples["1x64"]["threads"] == [Sample(1.0)] * 3
    assert made.samples["1x64"]["workers"] == [Sample(problem="ended with status 1")] * 3


def test_a_workload_beyond_the_descriptor_limit_is_skipped(monkeypatch):
    monkeypatch.setattr("bench.measure.resource.getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(benchmark_module, "measure", lambda *_: Sample(1.0))
    made = benchmark([WORKLOADS["1x64"], WORKLOADS["idle-5000"]], threads=[])
    run(made, lambda *_: None)
    assert made.skipped == {"idle-5000": "5,000 connections need 5,064 open files, and the limit is 1,024 (ulimit -Hn)"}
    assert made.samples["idle-5000"] == {"threads": []}
    assert len(made.samples["1x64"]["threads"]) == 3


# -- the cost of counting


def test_a_connection_without_counters_does_the_same_and_counts_nothing():
    for kind, counted in ((NonBlockingDriver, 64), (without_counting(), 0)):
        driver = make_driver(kind, FakeSocket())
        assert driver.on_ready(ReceiveBuffer()) is Interest.READ
        stats = driver.connection.stats
        assert stats.bytes_in == stats.bytes_out == counted


def test_the_cost_of_counting_is_a_share_of_the_whole():
    assert Cost(2e-7, 1e-5).share == pytest.approx(0.02)


@pytest.mark.stress
def test_counting_costs_at_most_three_percent():
    assert measure().share <= 0.03
