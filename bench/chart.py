"""The chart of a benchmark as SVG text: a panel for each cell, a bar for each server.

It brings its own background and chooses its colours by the reader's preference, so it can be read on any page.
"""

from __future__ import annotations

from html import escape

from bench.campaign import Campaign
from bench.cells import Cell
from bench.measure import IMPORTED, IMPORTS
from bench.servers import SERVERS
from bench.summary import Entry, summarise
from bench.tables import number, ratio_text

COLUMNS = 3
_WIDTH, _GAP, _MARGIN = 368, 26, 20
# Within a panel: where bars begin, how long the longest is; the rest is for the figure behind it.
_BAR_LEFT, _BAR_LONGEST = 112, 128
_TOP, _ROW, _BAR = 46, 19, 12
_HEADING = 34

_STYLE = """
svg { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --back: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --threads: #0b6e4f; --workers: #1b9e77; --workers-queue: #74c6a8; --threads-all-cores: #5a9c87;
  --peer: #9aa4b1; --base: #5f6b7a; }
@media (prefers-color-scheme: dark) {
  svg { --back: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #30363d;
    --threads: #3fd9a0; --workers: #22a67a; --workers-queue: #17694f; --threads-all-cores: #2a8f72;
    --peer: #59636e; --base: #9198a1; } }
.back { fill: var(--back); } text { fill: var(--ink); } .soft { fill: var(--soft); font-size: 11px; }
.title { font-weight: 600; font-size: 13px; } .head { font-weight: 600; font-size: 15px; }
.end { text-anchor: end; } .axis { stroke: var(--line); } .spread { stroke: var(--ink); fill: none; opacity: .75; }
.threads { fill: var(--threads); } .workers { fill: var(--workers); } .workers-queue { fill: var(--workers-queue); }
.threads-all-cores { fill: var(--threads-all-cores); }
.peer { fill: var(--peer); } .base { fill: var(--base); }
.bound { fill-opacity: .35; stroke: var(--soft); stroke-dasharray: 3 2; }
""".strip()


def draw(campaign: Campaign) -> str:
    """Return the chart. A bar's line spans from the least to the most of the rounds."""
    settings = campaign.settings
    panels = [(cell, entries) for cell in settings.cells if (entries := _in_order(campaign, cell))]
    rows = [panels[index : index + COLUMNS] for index in range(0, len(panels), COLUMNS)]
    heights = [_TOP + _ROW * max(len(entries) for _, entries in row) + _GAP for row in rows]
    width = 2 * _MARGIN + COLUMNS * _WIDTH + (COLUMNS - 1) * _GAP
    height = 2 * _MARGIN + _HEADING + sum(heights)
    legend = (
        f"median of the rounds, line from least to most, × ratio to {settings.base}, of start-up to the import; "
        "dashed: the generator was the limit"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Benchmark: {escape(", ".join(server.name for server in settings.servers))}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{width}" height="{height}" rx="8"/>',
        f'<text class="head" x="{_MARGIN}" y="{_MARGIN + 14}">echoserver and its peers</text>',
        f'<text class="soft end" x="{width - _MARGIN}" y="{_MARGIN + 14}">{escape(legend)}</text>',
    ]
    top = _MARGIN + _HEADING
    for row, row_height in zip(rows, heights, strict=True):
        for column, (cell, entries) in enumerate(row):
            left = _MARGIN + column * (_WIDTH + _GAP)
            parts += [
                f'<g transform="translate({left} {top})">',
                *_panel(cell, entries, settings.base_of(cell)),
                "</g>",
            ]
        top += row_height
    return "\n".join([*parts, "</svg>", ""])


def _in_order(campaign: Campaign, cell: Cell) -> list[Entry]:
    """Return a cell's entries in the same order in every panel, so that the eye finds each server in its place."""
    entries = {entry.server: entry for entry in summarise(campaign, cell)}
    names = [IMPORTS, *(server.name for server in campaign.settings.servers)]
    return [entries[name] for name in names if name in entries]


def _panel(cell: Cell, entries: list[Entry], base: str) -> list[str]:
    direction = "more is better" if cell.more_is_better else "less is better"
    highest = max(entry.high for entry in entries) or 1.0
    lines = [
        f'<text class="title" y="13">{escape(cell.title)}</text>',
        f'<text class="soft" y="29">{escape(cell.unit)}, {direction}</text>',
    ]
    for index, entry in enumerate(entries):
        lines += _bar(entry, _TOP + index * _ROW, _BAR_LONGEST / highest, base)
    bottom = _TOP + len(entries) * _ROW - (_ROW - _BAR) + 3
    return [*lines, f'<path class="axis" d="M{_BAR_LEFT - 0.5} {_TOP - 3}V{bottom}"/>']


def _bar(entry: Entry, top: int, scale: float, base: str) -> list[str]:
    middle, baseline = top + _BAR / 2, top + 10
    ours = entry.server in SERVERS and SERVERS[entry.server].ours
    colour = entry.server if ours else "base" if entry.server == base else "peer"
    name = "import only" if entry.server == IMPORTS else entry.server
    hint = f"<title>{escape(IMPORTED)}</title>" if entry.server == IMPORTS else ""
    lines = [f'<text class="end" x="{_BAR_LEFT - 7}" y="{baseline}">{escape(name)}{hint}</text>']
    if entry.value is None:
        return [*lines, f'<text class="soft" x="{_BAR_LEFT + 6}" y="{baseline}">failed</text>']
    style = f"{colour} bound" if entry.bound else colour
    length = max(entry.value * scale, 0.5)
    lines.append(f'<rect class="{style}" x="{_BAR_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="1.5"/>')
    if entry.rounds > 1:
        low, high = (_BAR_LEFT + value * scale for value in (entry.low, entry.high))
        lines.append(f'<path class="spread" d="M{low:.1f} {middle - 3:g}v6M{low:.1f} {middle:g}H{high:.1f}m0 -3v6"/>')
    least = "≥ " if entry.bound else ""
    value = f"{least}{number(entry.value)}"
    ratio = f" × {least}{ratio_text(entry.ratio)}" if entry.ratio is not None and entry.server != base else ""
    end = _BAR_LEFT + max(entry.high, entry.value) * scale + 7
    lines.append(f'<text x="{end:.1f}" y="{baseline}">{value}<tspan class="soft">{ratio}</tspan></text>')
    return lines
