"""The results as tables: on a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from bench.benchmark import Benchmark
from bench.measure import IMPORT_STATEMENT, IMPORTS, PERCENTILES
from bench.servers import SERVERS
from bench.summary import Result, summarise
from bench.workloads import WORKLOADS, Workload
from echoclient.load.units import count_text, time_text

BOUND_MARK = "†"


def terminal_report(benchmark: Benchmark) -> str:
    """Return a coloured table for each workload."""
    settings = benchmark.settings
    lines = []
    for workload in settings.workloads:
        results = summarise(benchmark, workload)
        if not results:
            continue
        title = click.style(workload.title, bold=True)
        lines += ["", f"{title}, {workload.unit}, ratio to {settings.baseline_of(workload)}"]
        rows = [_row(workload, result, rank) for rank, result in enumerate(results, 1)]
        widths = [max(len(columns[index]) for columns in rows) for index in range(len(rows[0]))]
        for columns, result in zip(rows, results, strict=True):
            # Names are aligned to the left, figures to the right.
            text = "  ".join(
                value.ljust(width) if index == 1 else value.rjust(width)
                for index, (value, width) in enumerate(zip(columns, widths, strict=True))
            ).rstrip()
            lines.append("  " + click.style(text, fg="green" if _is_ours(result) else None))
    return "\n".join([*lines, "", *(click.style(note, fg="yellow") for note in notes(benchmark))]).strip("\n")


def overview(benchmark: Benchmark) -> list[str]:
    """Return a Markdown table of the ratios: one row per workload, one column per server."""
    names = [server.name for server in benchmark.settings.servers]
    lines = [_markdown_row(["", *names]), _markdown_row(["---", *["---:"] * len(names)])]
    for workload in benchmark.settings.workloads:
        results = {result.server: result for result in summarise(benchmark, workload)}
        if results:
            lines.append(_markdown_row([workload.title, *(_overview_text(results.get(name)) for name in names)]))
    return lines


def details(benchmark: Benchmark) -> Iterator[str]:
    """Yield the lines of a Markdown table for each workload."""
    for workload in benchmark.settings.workloads:
        results = summarise(benchmark, workload)
        if not results:
            continue
        yield from (f"### {workload.title}", "")
        titles = ["#", "", unit_title(workload), "min to max", f"× {benchmark.settings.baseline_of(workload)}"]
        if results[0].latency:
            titles += [f"p{percentile:g}" for percentile in PERCENTILES]
        if workload.reference:
            titles.append(f"× its own {WORKLOADS[workload.reference].handler}")
        yield _markdown_row(titles)
        yield _markdown_row(["---:", "---", *["---:"] * (len(titles) - 2)])
        for rank, result in enumerate(results, 1):
            columns = _row(workload, result, rank)[: len(titles)]
            if _is_ours(result):
                columns[1] = f"**{columns[1]}**"
            yield _markdown_row(columns)
        yield ""


def notes(benchmark: Benchmark) -> list[str]:
    """Return what a reader must know besides the figures, one line each."""
    lines = []
    workloads = benchmark.settings.workloads
    results = [(workload, result) for workload in workloads for result in summarise(benchmark, workload)]
    if any(result.generator_bound for _, result in results):
        lines.append(
            f"{BOUND_MARK} The load generator was the limit. The server may be capable of more and is not ranked."
        )
    for workload, result in results:
        rounds = result.problems.total() + (result.figures.rounds if result.figures else 0)
        for problem, times in result.problems.items():
            lines.append(f"{workload.title}, {result.server}: failed in {times} of {rounds} rounds: {problem}")
    lines += [f"{WORKLOADS[name].title}: skipped: {reason}" for name, reason in benchmark.skipped.items()]
    return lines


def number_text(value: float) -> str:
    """Format a figure of any workload with about three digits."""
    return count_text(value) if value >= 100 else f"{value:.1f}"


def ratio_text(ratio: float | None) -> str:
    """Format a ratio; return an empty text if there is none."""
    return "" if ratio is None else f"{ratio:.2f}"


def unit_title(workload: Workload) -> str:
    """Return the unit as a column's title."""
    return workload.unit[0].upper() + workload.unit[1:]


def _row(workload: Workload, result: Result, rank: int) -> list[str]:
    """Return a table row: rank, name, median, range, ratio, percentiles and the ratio to the reference."""
    name = IMPORT_STATEMENT if result.server == IMPORTS else result.server
    figures = result.figures
    if figures is None:
        further = (len(PERCENTILES) if workload.more_is_better else 0) + bool(workload.reference)
        return ["", name, "failed", *[""] * (2 + further)]
    median = number_text(figures.median)
    columns = [
        "" if result.generator_bound else str(rank),
        name,
        f"≥ {median} {BOUND_MARK}" if result.generator_bound else median,
        f"{number_text(figures.low)} to {number_text(figures.high)}" if figures.rounds > 1 else "",
        _bounded_ratio(result, result.ratio),
        *(_latency_text(result.latency[percentile]) for percentile in PERCENTILES if percentile in result.latency),
    ]
    return [*columns, _bounded_ratio(result, result.reference_ratio)] if workload.reference else columns


def _overview_text(result: Result | None) -> str:
    if result is None or result.figures is None:
        return "failed"
    if result.ratio is None:
        return BOUND_MARK if result.generator_bound else "–"
    return _bounded_ratio(result, result.ratio)


def _bounded_ratio(result: Result, ratio: float | None) -> str:
    return f"≥ {ratio_text(ratio)} {BOUND_MARK}" if result.generator_bound and ratio is not None else ratio_text(ratio)


def _is_ours(result: Result) -> bool:
    return result.server in SERVERS and SERVERS[result.server].is_echoserver


def _latency_text(seconds: float) -> str:
    return time_text(seconds).replace("us", "µs")


def _markdown_row(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"
