"""One self-contained page for one result or for several side by side, without scripts, fonts or other files."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from echoclient.load.charts import COLOURS, HeatScales, heat_map, percentile_chart, throughput_chart
from echoclient.load.latency import PERCENTILES
from echoclient.load.table import bound_text, error_text, fault_line, generator_text, series
from echoclient.load.units import count_text, megabytes_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoclient.load.result import Result

Named = tuple[str, "Result"]

# Dark text on a light background and the reverse; each colour is chosen for its background.
_LIGHT = ("#0b62c4", "#c2410c", "#15803d", "#9333ea", "#be123c", "#0e7490", "#a16207", "#475569")
_DARK = ("#6cb2ff", "#ff9b5e", "#5fd38a", "#c79bff", "#ff7d98", "#4fd3e6", "#e8c14a", "#a9b8cc")
_SHADES = (0.10, 0.20, 0.31, 0.43, 0.56, 0.70, 0.85, 1.0)

_SUFFIXES = {"rate": " messages/s", **dict.fromkeys(("duration", "warmup", "timeout", "wait"), " s")}

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --text: #1c2330; --soft: #5b6575; --grid: #dfe3e9;
  --bad: #b91c1c; --warn: #92600a; --good: #15803d; %LIGHT% }
@media (prefers-color-scheme: dark) { :root { --ground: #11151c; --card: #1a2029; --text: #e6eaf0; --soft: #9aa6b8;
  --grid: #2b3442; --bad: #ff8585; --warn: #f0bd5a; --good: #5fd38a; %DARK% } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 20px 48px; max-width: 1000px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 24px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 2px; }
p { margin: 4px 0; }
.soft, .note { color: var(--soft); } .note { font-size: 13.5px; }
.bad { color: var(--bad); } .warn { color: var(--warn); } .good { color: var(--good); }
.bad, .warn, .good { font-weight: 600; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 10px; margin: 18px 0 4px; }
.tile { background: var(--card); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 21px; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile span { color: var(--soft); font-size: 13px; }
figure { margin: 8px 0 0; overflow-x: auto; }
figcaption { font-size: 13.5px; color: var(--soft); margin-bottom: 2px; }
svg { display: block; width: 100%; min-width: 560px; height: auto; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .name { font-size: 12.5px; }
.grid { stroke: var(--grid); fill: none; } .axis { stroke: var(--soft); fill: none; }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 5; } .dotted { stroke-dasharray: 1.5 4; }
.dot { fill: var(--c); stroke: var(--ground); stroke-width: 1.5; }
.heat { fill: var(--c); }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; background: var(--c); margin-right: 6px;
  vertical-align: -1px; }
.legend { font-size: 13.5px; } .legend span { display: inline-block; margin-right: 12px; overflow-wrap: anywhere; }
.date { white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-top: 6px; min-width: 60%; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 200px; }
th { font-weight: 600; } thead th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child, .left th, .left td { text-align: left; }
td small { color: var(--soft); margin-left: 6px; }
tr.differs td { font-weight: 600; }
"""


def html_page(results: Sequence[Named]) -> str:
    """Return the page as HTML text.

    Args:
        results: at least one, each with the name under which it is shown.
    """
    only = results[0][1] if len(results) == 1 else None
    title = f"echoclient bench: {results[0][0]}" if only else "echoclient bench: " + " / ".join(n for n, _ in results)
    body = [_head(results), _tiles(only) if only else _comparison(results), *_charts(results)]
    body += [_latencies(results), _errors(results), _parameters(results)]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _style() -> str:
    light, dark = (
        " ".join(f"--c{index}: {colour};" for index, colour in enumerate(colours)) for colours in (_LIGHT, _DARK)
    )
    colours = "".join(f".c{index} {{ --c: var(--c{index}); }} " for index in range(COLOURS))
    shades = "".join(f".s{index} {{ fill-opacity: {shade}; }} " for index, shade in enumerate(_SHADES))
    return _STYLE.replace("%LIGHT%", light).replace("%DARK%", dark) + colours + shades


def _head(results: Sequence[Named]) -> str:
    if len(results) > 1:
        lines = [f"<h1>{len(results)} runs compared</h1>"]
    else:
        result = results[0][1]
        lines = [
            f"<h1>Load on {escape(str(result.plan.target))}</h1>",
            f'<p class="soft">{escape(_mode_text(result))} &middot; {_date(result.started)}</p>',
        ]
    for index, (name, result) in enumerate(results):
        prefix = f"{_key(index)}{escape(name)}: " if len(results) > 1 else ""
        if not result.ok:
            reasons = [error_text(result)] if error_text(result) != "none" else []
            reasons += [*result.failures, *(["interrupted"] if result.interrupted else [])]
            lines.append(f'<p class="bad">{prefix}Not everything was done as asked: {escape("; ".join(reasons))}</p>')
        elif len(results) == 1:
            checked = "every byte was the expected one" if result.plan.verify else "the bytes were not checked"
            lines.append(f'<p class="good">Everything was done as asked; {checked}.</p>')
        if result.generator_bound:
            lines.append(f'<p class="warn">{prefix}{escape(bound_text())}</p>')
    return "\n".join(lines)


def _mode_text(result: Result) -> str:
    plan = result.plan
    how = {
        "closed": "closed loop: each reply triggers the next message",
        "open": f"open loop: {count_text(plan.rate or 0)} messages per second at planned times",
        "churn": "connect, exchange one message, close",
    }[plan.mode]
    return f"{plan.connections} connections, messages of {plan.size} B, {how}"


def _tiles(result: Result) -> str:
    per = "connections/s" if result.plan.churn else "messages/s"
    tiles = [(count_text(result.rate), per), (megabytes_text(result.megabytes), "each way")]
    if result.latency:
        percentiles = result.latency.percentiles
        tiles += [(_time(percentiles[p]), f"p{p:g} latency") for p in (50.0, 99.0, 99.9)]
        tiles.append((_time(result.latency.most), "max latency"))
    boxes = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{name}</span></div>' for value, name in tiles)
    return f'<div class="tiles">{boxes}</div>'


def _comparison(results: Sequence[Named]) -> str:
    """Return a table with a row for each figure and a column for each result, with ratios to the first."""
    rows: list[tuple[str, Callable[[Result], float | None], Callable[[float], str]]] = [
        ("throughput, 1/s", lambda result: result.rate, count_text),
        ("payload each way", lambda result: result.megabytes, megabytes_text),
    ]
    for percentile in PERCENTILES:
        name = "max" if percentile == 100 else f"p{percentile:g}"
        rows.append((f"{name} latency", lambda result, p=percentile: _at(result, p), _time))  # type: ignore[misc]
    lines = ["<thead><tr><th></th>" + "".join(f"<th>{_name(i, n)}</th>" for i, (n, _) in enumerate(results))]
    lines.append("</tr></thead>")
    for title, figure, write in rows:
        values = [figure(result) for _, result in results]
        cells = []
        for index, value in enumerate(values):
            text = "&ndash;" if value is None else escape(write(value))
            ratio = (
                f"<small>&times;{value / values[0]:.2f}</small>" if index and value is not None and values[0] else ""
            )
            cells.append(f"<td>{text}{ratio}</td>")
        lines.append(f"<tr><th>{title}</th>{''.join(cells)}</tr>")
    return f'<h2>Figures</h2><div class="scroll"><table>{"".join(lines)}</table></div>'


def _charts(results: Sequence[Named]) -> list[str]:
    plain = [result for _, result in results]
    legend = "".join(f"<span>{_name(index, name)}</span>" for index, (name, _) in enumerate(results))
    legend = f'<div class="legend">{legend}</div>' if len(results) > 1 else ""
    caption = "Half the messages are to the left of 50 %, one in a thousand to the right of 99.9 %."
    if any(result.service for result in plain):
        caption += (
            " With a rate, solid lines count from the planned time of sending, and dashed lines from the actual time, "
            "which hides the delay of a stall."
        )
    if any(result.connect for result in plain):
        caption += " With churn, solid lines are the exchange, and dashed lines the connect before it."
    if any(result.handshake for result in plain):
        caption += " Over TLS, dotted lines are the handshake."
    charts = [
        "<h2>Latency by percentile</h2>",
        f"<figure><figcaption>{caption}</figcaption>{legend}{percentile_chart(plain)}</figure>",
        "<h2>Latency over time</h2>",
        '<p class="note">A stronger colour is more messages, on a logarithmic scale.</p>',
    ]
    scales = HeatScales.of(plain)
    for index, (name, result) in enumerate(results):
        prefix = f"<figcaption>{_name(index, name)}</figcaption>" if len(results) > 1 else ""
        charts.append(f"<figure>{prefix}{heat_map(result, scales, index)}</figure>")
    charts += [
        "<h2>Throughput over time</h2>",
        f"<figure>{legend}{throughput_chart(plain)}</figure>",
    ]
    return charts


def _latencies(results: Sequence[Named]) -> str:
    header = "".join(f"<th>{'max' if p == 100 else f'p{p:g}'}</th>" for p in PERCENTILES)
    rows = []
    for index, (name, result) in enumerate(results):
        for label, latency in series(result):
            prefix = f"{_name(index, name)} {label}" if len(results) > 1 else label
            values = [latency.least, latency.mean, latency.deviation, *latency.percentiles.values()]
            cells = "".join(f"<td>{escape(_time(value))}</td>" for value in values)
            rows.append(f"<tr><th>{prefix}</th>{cells}<td>{latency.count:,}</td></tr>")
    if not rows:
        return "<h2>Latencies</h2><p>No message was answered.</p>"
    head = f"<thead><tr><th></th><th>min</th><th>mean</th><th>deviation</th>{header}<th>count</th></tr></thead>"
    return f'<h2>Latencies</h2><div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _errors(results: Sequence[Named]) -> str:
    lines = ["<h2>Errors</h2>"]
    for index, (name, result) in enumerate(results):
        prefix = f"{_name(index, name)}: " if len(results) > 1 else ""
        lines.append(f"<p>{prefix}{escape(error_text(result))}</p>")
        lines += [f'<p class="note">{escape(fault_line(fault))}</p>' for fault in result.faults.examples]
    return "\n".join(lines)


def _parameters(results: Sequence[Named]) -> str:
    columns = [_parameter_column(result) for _, result in results]
    names = list(dict.fromkeys(name for column in columns for name in column))
    head = "".join(f"<th>{_name(i, n)}</th>" for i, (n, _) in enumerate(results)) if len(results) > 1 else ""
    rows = []
    for name in names:
        values = [column.get(name, "") for column in columns]
        differs = ' class="differs"' if len(set(values)) > 1 else ""
        cells = "".join(f'<td class="long">{escape(value)}</td>' for value in values)
        rows.append(f"<tr{differs}><th>{escape(name)}</th>{cells}</tr>")
    head = f"<thead><tr><th></th>{head}</tr></thead>" if head else ""
    return f'<h2>Parameters</h2><div class="scroll"><table class="left">{head}{"".join(rows)}</table></div>'


def _parameter_column(result: Result) -> dict[str, str]:
    plan = result.plan
    values = {
        name: "-" if value is None else f"{value}{_SUFFIXES.get(name, '')}" for name, value in plan.to_json().items()
    }
    del values["smallest"], values["largest"]
    values |= {"size": f"{plan.size} B", "started": result.started, "elapsed": f"{result.elapsed:.3f} s"}
    return values | {"generator": generator_text(result)} | result.environment


def _date(started: str) -> str:
    return f'<span class="date">{escape(started.replace("T", " ").replace("+00:00", " UTC"))}</span>'


def _at(result: Result, percentile: float) -> float | None:
    return result.latency.percentiles[percentile] if result.latency else None


def _time(seconds: float) -> str:
    return time_text(seconds).replace("us", "µs")


def _key(index: int) -> str:
    return f'<span class="key c{index % COLOURS}"></span>'


def _name(index: int, name: str) -> str:
    return _key(index) + escape(name)
