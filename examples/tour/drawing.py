"""The drawing behind `timeline`: strips of time and bars, in the terminal and as SVG. It knows nothing of threads."""

from __future__ import annotations

import html
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

FILL = {"doing": "━", "waiting": "┄", "holding": "▒"}
ANSI = {"doing": "30;42", "waiting": "30;43", "holding": "37;45"}
WORDS = {"doing": "runs", "waiting": "waits", "holding": "holds"}
LEVELS = " ▁▂▃▄▅▆▇█"
ASCII = str.maketrans("━┄▒●─▁▂▃▄▅▆▇█…", "=.#*-__..::##.")
STYLE = """\
text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #59636e; }
.title { font-size: 13px; font-weight: 600; fill: #1f2328; }
.row { font-size: 12px; fill: #1f2328; } .label { fill: #1f2328; }
.back { fill: #ffffff; } .rule { stroke: #d1d9e0; } .curve { fill: none; stroke: #0969da; stroke-width: 1.5; }
.doing { fill: #8fd3a8; } .waiting { fill: #f6e3a1; } .holding { fill: #d3c2f0; } .mark { fill: #1f2328; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; } .title, .row, .label, .mark { fill: #e6edf3; }
  .back { fill: #0d1117; } .rule { stroke: #3d444d; }
  .curve { stroke: #4493f8; } .doing { fill: #1a7f4b; } .waiting { fill: #6b5a13; } .holding { fill: #59439a; } }"""
NAMES, TIME, EDGE = 170, 680, 900  # where the time begins, how long its axis is, how wide the picture is


@dataclass(slots=True)
class Piece:
    """A part of a strip, in seconds. A span that another interrupts has several; its label is written once."""

    kind: str
    label: str
    start: float
    end: float
    span: int  # the same in all pieces of a span


@dataclass(slots=True)
class Lane:
    """A strip of the picture: pieces that don't overlap, moments, and the samples of a curve."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    marks: Sequence[tuple[float, str]] = ()
    samples: Sequence[tuple[float, int]] = ()

    def most(self) -> int:
        """Return the highest sample, at least 1."""
        return max([1, *(value for _, value in self.samples)])


@dataclass(slots=True)
class Panel:
    """A part of an SVG picture."""

    height: int
    parts: list[str]


Text = list[tuple[str, str]]  # what to print: pairs of the kind that colours it ("" for none) and the text


def put(text: Text) -> None:
    """Print coloured text: with colours on a terminal, and with ASCII characters where the encoding has no others."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    whole = "".join(f"\x1b[{ANSI[kind]}m{part}\x1b[0m" if colour and kind else part for kind, part in text)
    try:
        whole.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        whole = whole.translate(ASCII)
    print(whole, end="", flush=True)


def columns() -> int:
    """Return how wide the picture in the terminal may be."""
    return min(max(shutil.get_terminal_size().columns, 60), 120) - 1


def lanes_text(title: str, lanes: Sequence[Lane], end: float) -> Text:
    """Draw strips for the terminal. `end` is the time at the right edge in seconds."""
    name_width = max((len(lane.name) for lane in lanes), default=0)
    width = columns() - name_width - 6
    text = [("", f"\n{title}\n  {'':<{name_width}} 0{'─' * (width - 9)}{end:6.3f} s\n")]
    for lane in lanes:
        text.append(("", f"  {lane.name:<{name_width}} "))
        for kind, cells in groupby(_cells(lane, width, end), key=lambda cell: cell[0]):
            text.append((kind, "".join(char for _, char in cells)))
        text.append(("", f" {lane.most()}\n" if lane.samples else "\n"))
    legend = "  ".join(f"{FILL[kind] * 3} {word}" for kind, word in WORDS.items())
    return [*text, ("", f"  {legend}  ● says something\n")]


def _cells(lane: Lane, width: int, end: float) -> list[tuple[str, str]]:
    """Return the kind and the character of each column of a strip."""
    scale = (width - 1) / end
    kinds, chars = [""] * width, [" "] * width
    limits = [round(piece.start * scale) for piece in lane.pieces[1:]] + [width]
    # Each span is drawn, however short; a piece too short to see is left out where its span has been drawn before.
    seen, labelled = set[int](), set[int]()
    for piece, limit in zip(lane.pieces, limits, strict=False):
        left, right = round(piece.start * scale), round(piece.end * scale)
        if left == right:
            if piece.span in seen:
                continue
            right += 1
        seen.add(piece.span)
        kinds[left:right], chars[left:right] = [piece.kind] * (right - left), list(FILL[piece.kind] * (right - left))
        at = left + 1 if len(piece.label) <= right - left - 2 else right + 1
        if piece.span not in labelled and at + len(piece.label) <= max(right, limit):
            labelled.add(piece.span)
            chars[at : at + len(piece.label)] = piece.label
    for moment, _ in lane.marks:
        if chars[round(moment * scale)] in " ━┄":
            chars[round(moment * scale)] = "●"
    for (begin, value), (until, _) in zip(lane.samples, [*lane.samples[1:], (end, 0)], strict=False):
        for at in range(round(begin * scale), round(until * scale) + 1):
            chars[at] = max(chars[at], LEVELS[-(-value * 8 // lane.most())])
    return list(zip(kinds, chars, strict=True))


def lanes_svg(title: str, lanes: Sequence[Lane], end: float) -> Panel:
    """Draw strips as a part of a picture."""
    parts, y = [_text(12, 18, "title", title)], 30
    for lane in lanes:
        height = 18 if lane.name else 13
        if lane.name:
            parts.append(_text(12, y + 13, "row", lane.name))
        parts += _strip(lane, y, height, TIME / end)
        y += height + 3
    parts.append(f'<line class="rule" x1="{NAMES}" x2="{NAMES + TIME}" y1="{y + 2}" y2="{y + 2}"/>')
    parts.append(_text(NAMES + TIME, y + 17, "time", f"{end:.3f} s", ' text-anchor="end"'))
    for index, (kind, word) in enumerate(WORDS.items()):
        parts.append(f'<rect class="{kind}" x="{NAMES + 75 * index}" y="{y + 8}" width="14" height="11" rx="2"/>')
        parts.append(_text(NAMES + 18 + 75 * index, y + 17, "legend", word))
    parts.append(f'<circle class="mark" cx="{NAMES + 232}" cy="{y + 13}" r="3"/>')
    parts.append(_text(NAMES + 240, y + 17, "legend", "says something"))
    return Panel(y + 28, parts)


def _strip(lane: Lane, y: int, height: int, scale: float) -> list[str]:
    parts: list[str] = []
    limits = [piece.start * scale for piece in lane.pieces[1:]] + [EDGE - NAMES - 4.0]
    seen, labelled = set[int](), set[int]()
    for piece, limit in zip(lane.pieces, limits, strict=False):
        x, width = piece.start * scale, (piece.end - piece.start) * scale
        if width < 1.5:
            if piece.span in seen:  # as in `_cells`
                continue
            width = 1.5
        seen.add(piece.span)
        place = f'x="{NAMES + x:.1f}" y="{y}" width="{width:.1f}" height="{height}"'
        title = f"<title>{html.escape(piece.label)}</title>"
        parts.append(f'<rect class="{piece.kind}" {place} rx="2">{title}</rect>')
        needed = 6.3 * len(piece.label)
        at = x + 4 if needed + 8 <= width else x + width + 4
        if piece.span not in labelled and at + needed <= max(x + width, limit):
            labelled.add(piece.span)
            parts.append(_text(NAMES + at, y + height - 4, "label", piece.label))
    for moment, said in lane.marks:
        place = f'cx="{NAMES + moment * scale:.1f}" cy="{y + 9}"'
        parts.append(f'<circle class="mark" {place} r="3"><title>{html.escape(said)}</title></circle>')
    if lane.samples:
        moves = [f"H{NAMES + at * scale:.1f}V{y + 17 - 15 * value / lane.most():.1f}" for at, value in lane.samples]
        parts.append(f'<path class="curve" d="M{NAMES} {y + 17}{"".join(moves)}H{NAMES + TIME}"/>')
        parts.append(_text(NAMES + TIME + 5, y + 13, "time", f"most {lane.most()}"))
    return parts


def bars_text(title: str, values: Mapping[str, float], unit: str) -> Text:
    """Draw one bar for each value, for the terminal."""
    name_width = max(len(name) for name in values)
    scale = (columns() - name_width - len(unit) - 12) / (max(values.values()) or 1.0)
    text = [("", f"\n{title}\n")]
    for name, value in values.items():
        text.append(("", f"  {name:<{name_width}} "))
        text += [("doing", FILL["doing"] * max(1, round(value * scale))), ("", f" {_amount(value)} {unit}\n")]
    return text


def bars_svg(title: str, values: Mapping[str, float], unit: str) -> Panel:
    """Draw one bar for each value, as a part of a picture."""
    parts, start = [_text(12, 18, "title", title)], 280
    scale = (EDGE - start - 110) / (max(values.values()) or 1.0)
    for index, (name, value) in enumerate(values.items()):
        y, width = 30 + 23 * index, max(1.5, value * scale)
        parts.append(_text(12, y + 13, "row", name))
        parts.append(f'<rect class="doing" x="{start}" y="{y}" width="{width:.1f}" height="18" rx="2"/>')
        parts.append(_text(start + 6 + width, y + 13, "time", f"{_amount(value)} {unit}"))
    return Panel(38 + 23 * len(values), parts)


def _amount(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:,.0f}"


def _text(x: float, y: float, style: str, text: str, more: str = "") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y}"{more}>{html.escape(text)}</text>'


def svg(panels: Sequence[Panel]) -> str:
    """Put panels below one another into one picture."""
    height, parts = 4, []
    for panel in panels:
        parts += [f'<g transform="translate(0 {height})">', *panel.parts, "</g>"]
        height += panel.height + 6
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {EDGE} {height}" role="img">'
    back = f'<rect class="back" width="{EDGE}" height="{height}" rx="8"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", back, *parts, "</svg>\n"])
