"""The picture and the sentences at the top of the page: what one small message costs each server."""

from __future__ import annotations

from html import escape

from bench.benchmark import Benchmark
from bench.chart import STYLE, colour_of
from bench.servers import SERVERS
from bench.summary import Result, summarise
from bench.tables import number_text
from bench.workloads import WORKLOADS

SHOWN = WORKLOADS["64x64"]
"""The workload that the picture shows."""

_WIDTH, _MARGIN, _TOP, _ROW, _BAR = 760, 24, 78, 30, 20
_LEFT, _LONGEST = 280, 370
_NAMES = {
    "threads": "echoserver, a thread per connection",
    "workers": "echoserver --mode workers",
    "workers-queue": "echoserver with --dispatch queue",
    "c-epoll": "C, one epoll loop",
    "c-threads": "C, a thread per connection",
}


def draw_picture(benchmark: Benchmark) -> str:
    """Return the picture: a bar for each server, the cheapest one first; empty if its workload was not measured."""
    results = [result for result in summarise(benchmark, SHOWN) if result.cpu]
    if not results:
        return ""
    scale = _LONGEST / max(result.cpu.median for result in results if result.cpu)
    height = _TOP + _ROW * len(results) + _MARGIN - (_ROW - _BAR)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Processor time per message: {escape(", ".join(result.server for result in results))}">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}" rx="8"/>',
        f'<text class="head" x="{_MARGIN}" y="34">What one message costs the server</text>',
        f'<text class="soft" x="{_MARGIN}" y="54">µs of processor time for each echo, {escape(SHOWN.title)}; '
        "shorter is better; dashed: written in C</text>",
    ]
    for index, result in enumerate(results):
        assert result.cpu is not None
        top = _TOP + index * _ROW
        text_y, length = top + 14.5, result.cpu.median * scale
        weight = ' font-weight="600"' if result.server in SERVERS and SERVERS[result.server].is_echoserver else ""
        name = escape(_NAMES.get(result.server, result.server))
        colour = colour_of(result.server, benchmark.settings.baseline)
        lines += [
            f'<text class="end" x="{_LEFT - 10}" y="{text_y}"{weight}>{name}</text>',
            f'<rect class="{colour}" x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2"/>',
            f'<text x="{_LEFT + length + 8:.1f}" y="{text_y}"{weight}>{number_text(result.cpu.median)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def sentences(benchmark: Benchmark) -> list[str]:
    """Return three sentences that say what the picture shows, one each; none without the figures they need."""
    results: dict[str, Result] = {result.server: result for result in summarise(benchmark, SHOWN)}
    cost = {name: number_text(result.cpu.median) for name, result in results.items() if result.cpu}
    if not {"threads", "workers", "asyncio", "c-epoll"} <= cost.keys():
        return []
    uvloop = f", and uvloop {cost['uvloop']} µs" if "uvloop" in cost else ""
    return [
        f"To echo a message of {SHOWN.traffic.size} bytes, echoserver needs {cost['threads']} µs of processor time "
        f"with a thread for each connection, and {cost['workers']} µs with `--mode workers`.",
        f"For the same echo, asyncio needs {cost['asyncio']} µs{uvloop}.",
        f"A loop of a few lines in C needs {cost['c-epoll']} µs: that is the kernel's part, which no server avoids.",
    ]
