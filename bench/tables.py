"""The results as tables: on a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from bench.benchmark import Benchmark
from bench.measure import IMPORT_STATEMENT, IMPORTS
from bench.sample import PERCENTILES
from bench.servers import SERVERS
from bench.summary import Figures, Result, summarise
from bench.workloads import WORKLOADS, Workload
from echoclient.load.units import count_text, time_text

BOUND_MARK = "†"


def terminal_report(benchmark: Benchmark) -> str:
    """Return a coloured table for each workload."""
    lines = []
    for workload in benchmark.settings.workloads:
        results = summarise(benchmark, workload)
        if not results:
            continue
        titles = ["#", "", *_titles(benchmark, workload, results)]
        rows = [titles, *(_row(workload, result, rank, len(titles)) for rank, result in enumerate(results, 1))]
        widths = [max(len(columns[index]) for columns in rows) for index in range(len(titles))]
        lines += ["", click.style(workload.title, bold=True)]
        for columns, result in zip(rows, [None, *results], strict=True):
            # Names are aligned to the left, figures to the right.
            text = "  ".join(
                value.ljust(width) if index == 1 else value.rjust(width)
                for index, (value, width) in enumerate(zip(columns, widths, strict=True))
            ).rstrip()
            lines.append("  " + click.style(text, fg="green" if result and _is_ours(result) else None))
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
        titles = ["#", "", *_titles(benchmark, workload, results)]
        yield _markdown_row(titles)
        yield _markdown_row(["---:", "---", *["---:"] * (len(titles) - 2)])
        for rank, result in enumerate(results, 1):
            columns = _row(workload, result, rank, len(titles))
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
            f"{BOUND_MARK} The load generator had no time to spare, and the server had: it may answer more messages a "
            "second. Its processor time per message is not affected, nor is its rank by that."
        )
    for workload, result in results:
        rounds = result.problems.total() + (result.figures.rounds if result.figures else 0)
        for problem, times in result.problems.items():
            lines.append(f"{workload.title}, {result.server}: failed in {times} of {rounds} rounds: {problem}")
    lines += [f"{WORKLOADS[name].title}: skipped: {reason}" for name, reason in benchmark.skipped.items()]
    return lines


def number_text(value: float) -> str:
    """Format a figure of any workload with about three digits."""
    return count_text(value) if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_text(ratio: float | None) -> str:
    """Format a ratio; return an empty text if there is none."""
    return "" if ratio is None else f"{ratio:.2f}"


def unit_title(workload: Workload) -> str:
    """Return the unit as a column's title."""
    return workload.unit[0].upper() + workload.unit[1:]


def cpu_title(workload: Workload) -> str:
    """Return the unit of the processor time as a column's title."""
    return f"CPU µs per {'connection' if workload.kind == 'churn' else 'message'}"


def _titles(benchmark: Benchmark, workload: Workload, results: Sequence[Result]) -> list[str]:
    """Return the titles of the columns after the rank and the name: the ranked figure comes first."""
    ratio = f"× {benchmark.settings.baseline_of(workload)}"
    titles = [unit_title(workload), "min to max", ratio]
    if _has_cpu(results):
        titles = [cpu_title(workload), "min to max", ratio, *titles]
    if any(result.latency for result in results):
        titles += [f"p{percentile:g}" for percentile in PERCENTILES]
    return [*titles, f"× its own {WORKLOADS[workload.reference].handler}"] if workload.reference else titles


def _row(workload: Workload, result: Result, rank: int, width: int) -> list[str]:
    """Return a table row: rank, name, figures with range and ratio, percentiles and the ratio to the reference."""
    name = IMPORT_STATEMENT if result.server == IMPORTS else result.server
    if result.figures is None:
        return ["", name, "failed", *[""] * (width - 3)]
    columns = [str(rank), name]
    if result.cpu is not None:
        columns += _figures(result.cpu)
    bounded = _figures(result.figures)
    if result.generator_bound:
        bounded[0] = f"≥ {bounded[0]} {BOUND_MARK}"
    columns += bounded
    columns += [_latency_text(result.latency[percentile]) for percentile in PERCENTILES if result.latency]
    return [*columns, ratio_text(result.reference_ratio)] if workload.reference else columns


def _figures(figures: Figures) -> list[str]:
    """Return the three columns of a quantity."""
    spread = f"{number_text(figures.low)} to {number_text(figures.high)}" if figures.rounds > 1 else ""
    return [number_text(figures.median), spread, ratio_text(figures.ratio)]


def _has_cpu(results: Sequence[Result]) -> bool:
    return any(result.cpu is not None for result in results)


def _overview_text(result: Result | None) -> str:
    if result is None:
        return ""
    return "failed" if result.ranked is None else ratio_text(result.ranked.ratio) or "–"


def _is_ours(result: Result) -> bool:
    return result.server in SERVERS and SERVERS[result.server].is_echoserver


def _latency_text(seconds: float) -> str:
    # Not broken between the number and its unit, however narrow the table is.
    return time_text(seconds).replace("us", "µs").replace(" ", "\N{NO-BREAK SPACE}")


def _markdown_row(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"
