"""The page of a duel: self-contained, without scripts or other files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from html import escape

from bench.duel.bout import WATCHED_SECONDS, Bout
from bench.duel.timeline import LEGEND, draw
from bench.duel.verdict import level_with_best, verdict
from bench.duel.work import MODELS, WORKS
from echoclient.load.units import count_text, time_text

_WHY = {
    "echo": "Nothing waits and nothing computes. What counts is what a message costs apart from the handler, and most "
    "of that is handing it to another thread.",
    "wait": "What counts is how many handlers can wait at the same time: one for each connection with threads, one for "
    "each worker with the queue, and a single one where the polling thread calls the handler. “inline” is for handlers "
    "that declare blocking = False; this one does so wrongly, to show what comes of it.",
    "compute": "The interpreter runs Python code in one thread at a time, so no model answers more than one core can "
    "compute. They differ in who has to wait for whom.",
}
_WHY_WITHOUT_LOCK = (
    "This interpreter has no global lock: threads compute on all cores at once, and the polling thread on one."
)
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --text: #1c2330; --soft: #5b6575; --grid: #dfe3e9;
  --busy: #0b62c4; --lock: #f3c9a5; --poll: #cfd8e3; --socket: #dcebdd; --sleep: #e5d5f5; --core: #fbe7a1;
  --win: #15803d; }
@media (prefers-color-scheme: dark) { :root { --ground: #11151c; --card: #1a2029; --text: #e6eaf0; --soft: #9aa6b8;
  --grid: #2b3442; --busy: #6cb2ff; --lock: #8a5427; --poll: #3d4a5e; --socket: #285236; --sleep: #5a3d7d;
  --core: #7a6a26; --win: #5fd38a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 20px 48px; max-width: 1160px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 24px; line-height: 1.25; margin: 0; } h2 { font-size: 19px; margin: 40px 0 2px; }
h3 { font-size: 15px; margin: 0; } p { margin: 4px 0; max-width: 80ch; }
.soft { color: var(--soft); } .verdict { font-weight: 600; } .note { color: var(--soft); font-size: 13.5px; }
.models { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 14px; margin-top: 12px; }
.model { background: var(--card); border-radius: 8px; padding: 12px 14px; border-top: 3px solid transparent; }
.wins { border-top-color: var(--win); }
.rate { font-size: 22px; font-weight: 650; font-variant-numeric: tabular-nums; }
.bar { background: var(--grid); border-radius: 3px; height: 8px; margin: 4px 0 8px; }
.bar i { display: block; height: 8px; border-radius: 3px; background: var(--busy); min-width: 2px; }
dl { display: grid; grid-template-columns: auto auto auto auto; gap: 0 10px; margin: 0 0 10px; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
dt { color: var(--soft); } dd { margin: 0; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--soft); }
.axis { stroke: var(--soft); } .busy { fill: var(--busy); background: var(--busy); }
.w-lock { fill: var(--lock); background: var(--lock); } .w-poll { fill: var(--poll); background: var(--poll); }
.w-socket { fill: var(--socket); background: var(--socket); } .w-sleep { fill: var(--sleep); background: var(--sleep); }
.w-core { fill: var(--core); background: var(--core); } .w- { fill: none; }
.legend span { display: inline-block; margin-right: 14px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 5px;
  vertical-align: -1px; }
"""


def page(bouts: Sequence[Bout], connections: int, machine: Mapping[str, str]) -> str:
    """Return the page as HTML text.

    Parameters
    ----------
    bouts:
        All of them.
    connections:
        How many peers there were.
    machine:
        The facts about the machine.

    """
    sections = [
        _section(work, [bout for bout in bouts if bout.work == work], connections)
        for work in dict.fromkeys(bout.work for bout in bouts)
    ]
    keys = "".join(f'<span><i class="{style}"></i>{escape(text)}</span>' for style, text in LEGEND)
    facts = escape("; ".join(f"{name}: {value}" for name, value in machine.items()))
    models = "; ".join(f"{escape(model.title)}: {escape(model.about)}" for model in MODELS.values())
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>echoserver: which model suits which handler</title>
<style>{_STYLE}</style>
<body>
<h1>Which model suits which handler</h1>
<p class="soft">The same load on each model: {connections} connections, messages of 64 B, each reply triggers the next
message. {models}.</p>
<p class="legend note">What a thread does: {keys}</p>
{"".join(sections)}
<p class="note">Each model was measured first and then watched for {WATCHED_SECONDS:g} s. {facts}.</p>
</body>
</html>
"""


def _section(work: str, bouts: Sequence[Bout], connections: int) -> str:
    why = _WHY[work]
    if work == "compute" and not getattr(sys, "_is_gil_enabled", lambda: True)():
        why = _WHY_WITHOUT_LOCK
    most, winners = max(bout.rate for bout in bouts), level_with_best(bouts)
    cards = "".join(_card(bout, most, connections, wins=bout in winners) for bout in bouts)
    return (
        f'<h2>{escape(WORKS[work].title)}</h2>\n<p class="verdict">{escape(verdict(bouts))}</p>\n'
        f'<p>{escape(why)}</p>\n<div class="models">{cards}</div>\n'
    )


def _card(bout: Bout, most: float, connections: int, *, wins: bool) -> str:
    percentiles: list[tuple[str, str]] = [
        (f"p{percentile:g}", _time(seconds)) for percentile, seconds in bout.percentiles.items()
    ]
    figures = [*percentiles, ("CPU a message", _time(bout.cpu)), ("memory", f"{bout.memory / 1e6:.0f} MB")]
    pairs = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in figures)
    title = f"What the threads of {MODELS[bout.model].title} do with {connections} connections"
    return (
        f'<div class="model{" wins" if wins else ""}"><h3>{escape(MODELS[bout.model].title)}</h3>'
        f'<div class="rate">{count_text(bout.rate)} <small class="note">messages/s</small></div>'
        f'<div class="bar"><i style="width:{100 * bout.rate / most:.1f}%"></i></div><dl>{pairs}</dl>'
        f"{draw(bout.tracks, WATCHED_SECONDS, title)}</div>"
    )


def _time(seconds: float) -> str:
    return time_text(seconds).replace("us", "µs")
