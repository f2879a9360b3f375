"""A picture of the schedule of 1,000 connections: for each rule, which connections meet it, and where."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from echoserver.faults.bound import BoundRule
from echoserver.faults.drawn import Drawn, drawn
from echoserver.faults.explaining import sentence
from echoserver.faults.kinds import CUTS
from echoserver.faults.parameters import Corrupted
from echoserver.faults.plan import Plan
from echoserver.faults.triggers import Byte, Message, MessageShare

CONNECTIONS = 1000
"""How many connections the picture shows: those with the numbers from 1."""
_MOST_MARKS = 8
# In pixels.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 980, 76, 24, 82, 46
_STRIP, _TITLE, _GAP = 76, 40, 18
_PLOT = _WIDTH - _LEFT - _RIGHT
_LONGEST_TITLE, _LONGEST_SENTENCE = 90, 145

_GROUPS = {
    "slower": ("delay", "throttle", "slice", "stall"),
    "cut": ("reset", "close", "halfclose", "refuse"),
    "changed": ("corrupt", "drop", "duplicate"),
}
_LEGEND = {"slower": "slower", "cut": "cut off", "changed": "changed, lost or doubled"}

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #59636e; }
.heading { font-size: 15px; font-weight: 600; fill: #1f2328; } .rule { font: 600 13px ui-monospace, Menlo, monospace;
fill: #1f2328; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.back { fill: #ffffff; } .strip { fill: #f6f8fa; } .line { stroke: #d1d9e0; }
.mark { fill: none; stroke-width: 2.6; stroke-linecap: round; } .whole { fill: none; stroke-width: 1; }
.slower { stroke: #0969da; } .cut { stroke: #c4322b; } .changed { stroke: #9a6700; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; } .heading, .rule { fill: #e6edf3; } .back { fill: #0d1117; } .strip { fill: #161b22; }
  .line { stroke: #3d444d; } .slower { stroke: #4d9bff; } .cut { stroke: #ff7066; } .changed { stroke: #d9a62e; } }
""".strip()


@dataclass(frozen=True, slots=True)
class _Axis:
    """What the height of a mark shows."""

    name: str
    value: Callable[[Drawn], float | None]
    top: float
    """What the upper edge stands for; 0 if the largest value decides."""


def draw(plan: Plan) -> str:
    """Return the picture as SVG."""
    height = _TOP + len(plan.rules) * (_TITLE + _STRIP + _GAP) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<title>The faults of connections 1 to {CONNECTIONS} with seed {plan.seed}</title><style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        f'<text class="heading" x="{_LEFT}" y="32">'
        f"What connections 1 to {CONNECTIONS:,} meet with seed {plan.seed}</text>",
        *_legend(),
    ]
    met: dict[int, list[tuple[int, BoundRule]]] = {index: [] for index in range(len(plan.rules))}
    for connection in range(1, CONNECTIONS + 1):
        schedule = plan.schedule(connection)
        for bound in schedule.rules if schedule else ():
            met[bound.index].append((connection, bound))
    y = _TOP
    for index, connections in met.items():
        parts += _strip(y, str(plan.rules[index]), sentence(plan.rules[index]), connections)
        y += _TITLE + _STRIP + _GAP
    parts += _connection_axis(y - _GAP)
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> list[str]:
    parts = []
    x = float(_LEFT)
    for group, text in _LEGEND.items():
        parts.append(f'<path class="mark {group}" d="M{x:.0f} 52h14"/><text x="{x + 22:.0f}" y="56">{text}</text>')
        x += 48 + 6.4 * len(text)
    note = f"full height: each reply, or from the beginning; a connection has {_MOST_MARKS} marks at most"
    parts.append(f'<text x="{x:.0f}" y="56">{note}</text>')
    return parts


def _strip(y: int, rule: str, what: str, met: Sequence[tuple[int, BoundRule]]) -> list[str]:
    top, bottom = y + _TITLE, y + _TITLE + _STRIP
    parts = [
        f'<text class="rule" x="{_LEFT}" y="{y + 14}">{escape(_shortened(rule, _LONGEST_TITLE))}</text>',
        f'<text class="end" x="{_WIDTH - _RIGHT}" y="{y + 14}">{len(met):,} of {CONNECTIONS:,} connections</text>',
        f'<text x="{_LEFT}" y="{y + 31}">{escape(_shortened(what, _LONGEST_SENTENCE))}</text>',
        f'<rect class="strip" x="{_LEFT}" y="{top}" width="{_PLOT}" height="{_STRIP}"/>',
    ]
    if not met:
        return parts
    group = next(name for name, kinds in _GROUPS.items() if met[0][1].rule.kind in kinds)
    axis = _axis(met[0][1])
    if axis is None:
        lines = "".join(f"M{_x(connection):.1f} {top}v{_STRIP}" for connection, _ in met)
        return [*parts, f'<path class="whole {group}" d="{lines}"/>']
    marks = [
        (connection, value)
        for connection, bound in met
        for found in drawn(bound, connection, _MOST_MARKS, int(axis.top) or 1)
        if (value := axis.value(found)) is not None and (not axis.top or value <= axis.top)
    ]
    upper = axis.top or _rounded_up(1.05 * max((value for _, value in marks), default=1.0))
    for value in (0.0, upper / 2, upper):
        at = bottom - value / upper * _STRIP
        parts.append(f'<path class="line" d="M{_LEFT} {at:.1f}h{_PLOT}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 8}" y="{at + 4:.1f}">{_number(value)}</text>')
    middle = top + _STRIP / 2
    turned = f'transform="rotate(-90 14 {middle})"'
    parts.append(f'<text class="middle" x="14" y="{middle}" {turned}>{axis.name}</text>')
    points = "".join(f"M{_x(connection):.1f} {bottom - value / upper * _STRIP:.1f}h0" for connection, value in marks)
    return [*parts, f'<path class="mark {group}" d="{points}"/>']


def _axis(bound: BoundRule) -> _Axis | None:
    """Return what distinguishes the connections that meet a rule; `None` if nothing does."""
    rule = bound.rule
    place = rule.trigger.place
    share = rule.parameters.share if isinstance(rule.parameters, Corrupted) else None
    if isinstance(place, Byte) and share is None:
        return _Axis("offset (bytes)", lambda found: float(place.offset if found.at is None else found.at), 0)
    if isinstance(place, MessageShare):
        return _Axis("reply", lambda found: found.reply, 50 if place.share.parts > 10**6 else 200)
    if isinstance(place, Message):
        return _Axis("reply", lambda found: found.reply, 0)
    if rule.kind == "delay":
        return _Axis("1st delay (s)", lambda found: found.seconds if found.reply == 1 else None, 0)
    if share is not None:
        return _Axis("offset (bytes)", lambda found: found.at, 0)
    if rule.kind in CUTS and rule.trigger.span is not None:
        return _Axis("age (s)", lambda found: found.age, 0)
    return None


def _connection_axis(bottom: int) -> list[str]:
    parts = []
    for number in range(0, CONNECTIONS + 1, 100):
        x = _x(max(number, 1))
        parts.append(f'<path class="line" d="M{x:.1f} {bottom}v5"/>')
        parts.append(f'<text class="middle" x="{x:.1f}" y="{bottom + 19}">{max(number, 1):,}</text>')
    x = _LEFT + _PLOT / 2
    return [*parts, f'<text class="middle" x="{x}" y="{bottom + 38}">number of the connection</text>']


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "..."


def _x(connection: int) -> float:
    return _LEFT + (connection - 0.5) / CONNECTIONS * _PLOT


def _rounded_up(value: float) -> float:
    """Return a number that isn't smaller and has one digit other than 0, or half of one more."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if step * power >= value), 10 * power)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
