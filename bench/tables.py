"""The figures as texts: on a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from bench.campaign import Campaign
from bench.cells import CELLS, Cell
from bench.measure import IMPORTED, IMPORTS, PERCENTILES
from bench.servers import SERVERS
from bench.summary import Entry, summarise
from echoclient.load.units import count_text, time_text

BOUND_MARK = "†"


def terminal_report(campaign: Campaign) -> str:
    """Return a table for each cell, with colours."""
    lines = []
    for cell in campaign.settings.cells:
        entries = summarise(campaign, cell)
        if not entries:
            continue
        lines += ["", click.style(cell.title, bold=True) + f", {cell.unit}, ratio to {campaign.settings.base_of(cell)}"]
        rows = [row(cell, entry, rank) for rank, entry in enumerate(entries, 1)]
        widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
        for cells, entry in zip(rows, entries, strict=True):
            # Names to the left, figures to the right.
            text = "  ".join(
                value.ljust(width) if column == 1 else value.rjust(width)
                for column, (value, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            ours = entry.server in SERVERS and SERVERS[entry.server].ours
            lines.append("  " + click.style(text, fg="green" if ours else None))
    return "\n".join([*lines, "", *(click.style(note, fg="yellow") for note in notes(campaign))]).strip("\n")


def overview(campaign: Campaign) -> list[str]:
    """Return a Markdown table of the ratios: a row for each cell, a column for each server."""
    names = [server.name for server in campaign.settings.servers]
    lines = [_markdown_row(["", *names]), _markdown_row(["---", *["---:"] * len(names)])]
    for cell in campaign.settings.cells:
        entries = {entry.server: entry for entry in summarise(campaign, cell)}
        if entries:
            ratios = [_overview_figure(entries.get(name)) for name in names]
            lines.append(_markdown_row([cell.title, *ratios]))
    return lines


def details(campaign: Campaign) -> Iterator[str]:
    """Yield the lines of a Markdown table for each cell."""
    for cell in campaign.settings.cells:
        entries = summarise(campaign, cell)
        if not entries:
            continue
        yield from (f"### {cell.title}", "")
        titles = ["#", "", _capital(cell.unit), "min to max", f"× {campaign.settings.base_of(cell)}"]
        if entries[0].latency:
            titles += [f"p{percentile:g}" for percentile in PERCENTILES]
        if cell.beside:
            titles.append(f"× its own {CELLS[cell.beside].handler}")
        yield _markdown_row(titles)
        yield _markdown_row(["---:", "---", *["---:"] * (len(titles) - 2)])
        for rank, entry in enumerate(entries, 1):
            cells = row(cell, entry, rank)[: len(titles)]
            if entry.server in SERVERS and SERVERS[entry.server].ours:
                cells[1] = f"**{cells[1]}**"
            yield _markdown_row(cells)
        yield ""


def row(cell: Cell, entry: Entry, rank: int) -> list[str]:
    """Return an entry's figures: rank, name, median, spread, ratio, percentiles, and beside what it stands."""
    name = IMPORTED if entry.server == IMPORTS else entry.server
    if entry.value is None:
        return ["", name, "failed", *[""] * (2 + _figures_after(cell))]
    figures = [
        "" if entry.bound else str(rank),
        name,
        f"≥ {number(entry.value)} {BOUND_MARK}" if entry.bound else number(entry.value),
        f"{number(entry.low)} to {number(entry.high)}" if entry.rounds > 1 else "",
        _ratio(entry, entry.ratio),
        *(_time(entry.latency[percentile]) for percentile in PERCENTILES if percentile in entry.latency),
    ]
    return [*figures, _ratio(entry, entry.beside)] if cell.beside else figures


def notes(campaign: Campaign) -> list[str]:
    """Return what a reader must know beside the figures, a line each."""
    lines = []
    entries = [(cell, entry) for cell in campaign.settings.cells for entry in summarise(campaign, cell)]
    if any(entry.bound for _, entry in entries):
        lines.append(
            f"{BOUND_MARK} The load generator was the limit: the server may be capable of more, and is not ranked."
        )
    for cell, entry in entries:
        for problem, times in entry.problems.items():
            lines.append(f"{cell.title}, {entry.server}: failed in {times} of {times + entry.rounds} rounds: {problem}")
    lines += [f"{CELLS[name].title}: left out, {reason}" for name, reason in campaign.left_out.items()]
    return lines


def number(value: float) -> str:
    """Write a figure of any cell with about three digits."""
    return count_text(value) if value >= 100 else f"{value:.1f}"


def ratio_text(ratio: float | None) -> str:
    """Write a ratio, or nothing where there is none."""
    return "" if ratio is None else f"{ratio:.2f}"


def _time(seconds: float) -> str:
    return time_text(seconds).replace("us", "µs")


def _overview_figure(entry: Entry | None) -> str:
    if entry is None or entry.value is None:
        return "failed"
    if entry.ratio is None:
        return BOUND_MARK if entry.bound else "–"
    return _ratio(entry, entry.ratio)


def _ratio(entry: Entry, ratio: float | None) -> str:
    return f"≥ {ratio_text(ratio)} {BOUND_MARK}" if entry.bound and ratio is not None else ratio_text(ratio)


def _figures_after(cell: Cell) -> int:
    """Return how many columns follow the ratio."""
    return (len(PERCENTILES) if cell.more_is_better else 0) + bool(cell.beside)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
