"""The charts as SVG: one panel per workload, one bar per server; and the picture at the top of the page.

It has a background of its own and follows the reader's colour scheme, so it is legible on any page.
"""

from __future__ import annotations

from html import escape

from bench.benchmark import Benchmark
from bench.measure import IMPORT_STATEMENT, IMPORTS
from bench.servers import SERVERS
from bench.summary import Result, summarise
from bench.tables import number_text, ratio_text
from bench.workloads import Workload

COLUMNS = 3
_WIDTH, _GAP, _MARGIN = 368, 26, 20
# Within a panel: where bars begin, and the length of the longest. The rest of the width is for its figure.
_BAR_LEFT, _BAR_LENGTH = 112, 128
_TOP, _ROW, _BAR = 46, 19, 12
_HEADING = 34

STYLE = """
svg { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --back: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --threads: #0b6e4f; --workers: #1b9e77; --workers-queue: #74c6a8;
  --peer: #9aa4b1; --base: #5f6b7a; }
@media (prefers-color-scheme: dark) {
  svg { --back: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #30363d;
    --threads: #3fd9a0; --workers: #22a67a; --workers-queue: #17694f;
    --peer: #59636e; --base: #9198a1; } }
.back { fill: var(--back); } text { fill: var(--ink); } .soft { fill: var(--soft); font-size: 11px; }
.title { font-weight: 600; font-size: 13px; } .head { font-weight: 600; font-size: 15px; }
.end { text-anchor: end; } .axis { stroke: var(--line); } .spread { stroke: var(--ink); fill: none; opacity: .75; }
.threads { fill: var(--threads); } .workers { fill: var(--workers); } .workers-queue { fill: var(--workers-queue); }
.peer { fill: var(--peer); } .base { fill: var(--base); }
.native { fill: var(--back); stroke: var(--base); stroke-dasharray: 3 2; }
""".strip()


def draw(benchmark: Benchmark) -> str:
    """Return the chart. The line on a bar spans the range of the rounds."""
    settings = benchmark.settings
    panels = [(workload, results) for workload in settings.workloads if (results := _in_order(benchmark, workload))]
    rows = [panels[index : index + COLUMNS] for index in range(0, len(panels), COLUMNS)]
    heights = [_TOP + _ROW * max(len(results) for _, results in row) + _GAP for row in rows]
    width = 2 * _MARGIN + COLUMNS * _WIDTH + (COLUMNS - 1) * _GAP
    height = 2 * _MARGIN + _HEADING + sum(heights)
    legend = (
        f"shorter is better; bar: median of the rounds; line: lowest to highest; ×: ratio to {settings.baseline}, for "
        "start-up to the import; dashed: C"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Benchmark: {escape(", ".join(server.name for server in settings.servers))}">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{width}" height="{height}" rx="8"/>',
        f'<text class="head" x="{_MARGIN}" y="{_MARGIN + 14}">echoserver and other servers</text>',
        f'<text class="soft end" x="{width - _MARGIN}" y="{_MARGIN + 14}">{escape(legend)}</text>',
    ]
    top = _MARGIN + _HEADING
    for row, row_height in zip(rows, heights, strict=True):
        for column, (workload, results) in enumerate(row):
            left = _MARGIN + column * (_WIDTH + _GAP)
            parts += [
                f'<g transform="translate({left} {top})">',
                *_panel(workload, results, settings.baseline_of(workload)),
                "</g>",
            ]
        top += row_height
    return "\n".join([*parts, "</svg>", ""])


def _in_order(benchmark: Benchmark, workload: Workload) -> list[Result]:
    """Return a workload's results in an order that is the same in every panel, so that a server is easy to find."""
    results = {result.server: result for result in summarise(benchmark, workload)}
    names = [IMPORTS, *(server.name for server in benchmark.settings.servers)]
    return [results[name] for name in names if name in results]


def _panel(workload: Workload, results: list[Result], baseline: str) -> list[str]:
    ranked = [result.ranked for result in results if result.ranked]
    highest = max((figures.high for figures in ranked), default=0.0) or 1.0
    unit = workload.cpu_unit if any(result.cpu for result in results) else workload.unit
    lines = [
        f'<text class="title" y="13">{escape(workload.title)}</text>',
        f'<text class="soft" y="29">{escape(unit)}</text>',
    ]
    for index, result in enumerate(results):
        lines += _bar(result, _TOP + index * _ROW, _BAR_LENGTH / highest, baseline)
    bottom = _TOP + len(results) * _ROW - (_ROW - _BAR) + 3
    return [*lines, f'<path class="axis" d="M{_BAR_LEFT - 0.5} {_TOP - 3}V{bottom}"/>']


def _bar(result: Result, top: int, scale: float, baseline: str) -> list[str]:
    middle, text_y = top + _BAR / 2, top + 10
    name = "import only" if result.server == IMPORTS else result.server
    hint = f"<title>{escape(IMPORT_STATEMENT)}</title>" if result.server == IMPORTS else ""
    lines = [f'<text class="end" x="{_BAR_LEFT - 7}" y="{text_y}">{escape(name)}{hint}</text>']
    figures = result.ranked
    if figures is None:
        return [*lines, f'<text class="soft" x="{_BAR_LEFT + 6}" y="{text_y}">failed</text>']
    style = colour_of(result.server, baseline)
    length = max(figures.median * scale, 0.5)
    lines.append(f'<rect class="{style}" x="{_BAR_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="1.5"/>')
    if figures.rounds > 1:
        low, high = (_BAR_LEFT + value * scale for value in (figures.low, figures.high))
        lines.append(f'<path class="spread" d="M{low:.1f} {middle - 3:g}v6M{low:.1f} {middle:g}H{high:.1f}m0 -3v6"/>')
    ratio = f" × {ratio_text(figures.ratio)}" if figures.ratio is not None and result.server != baseline else ""
    text = f'{number_text(figures.median)}<tspan class="soft">{ratio}</tspan>'
    end = _BAR_LEFT + figures.high * scale + 7
    lines.append(f'<text x="{end:.1f}" y="{text_y}">{text}</text>')
    return lines


def colour_of(name: str, baseline: str) -> str:
    """Return the class of a server's bar."""
    if name in SERVERS and SERVERS[name].is_echoserver:
        return name
    if name in SERVERS and SERVERS[name].needs == "cc":
        return "native"
    return "base" if name == baseline else "peer"
