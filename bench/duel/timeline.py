"""The picture of what a server's threads did, one row for each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.duel.sampling import Track

WIDTH = 340
_LEFT, _ROW, _GAP, _FOOT = 92, 15, 3, 30
_MOST_ROWS = 14
_NAMES = {
    "lock": "waits for a lock, a queue or the interpreter",
    "poll": "waits for any socket",
    "socket": "waits for its own socket",
    "sleep": "waits in the handler",
    "core": "waits for a core",
}
LEGEND = [("busy", "runs on a core"), *((f"w-{wait}", text) for wait, text in _NAMES.items())]
"""The class of each colour, and what it stands for."""


def draw(tracks: Sequence[Track], seconds: float, title: str) -> str:
    """Return an SVG element.

    Parameters
    ----------
    tracks:
        The threads. Those that serve nobody, and ran next to nothing, come last; only the first rows are drawn.
    seconds:
        How long they were watched.
    title:
        For readers who can't see the picture.

    """
    shown = sorted(tracks, key=lambda track: -sum(track.busy))[:_MOST_ROWS]
    rest = len(tracks) - len(shown)
    bottom = len(shown) * (_ROW + _GAP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {bottom + _FOOT}" role="img" aria-label="{escape(title)}">']
    for index, track in enumerate(shown):
        parts += _row(track, index * (_ROW + _GAP))
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH}"/>')
    parts.append(f'<text x="{_LEFT}" y="{bottom + 14}">0</text>')
    parts.append(f'<text x="{WIDTH}" y="{bottom + 14}" text-anchor="end">{seconds:g} s</text>')
    if rest:
        more = f"{rest} more thread{'s' if rest > 1 else ''}, less busy than these"
        parts.append(f'<text x="0" y="{bottom + 27}">{more}</text>')
    return "\n".join([*parts, "</svg>"])


def _row(track: Track, top: float) -> list[str]:
    busy = sum(track.busy) / max(1, len(track.busy))
    tip = f"<title>{escape(track.name)}: on a core for {busy:.1%} of the time</title>"
    parts = [f'<g>{tip}<text x="{_LEFT - 8}" y="{top + 11}" text-anchor="end">{escape(track.name)}</text>']
    width = (WIDTH - _LEFT) / max(1, len(track.busy))
    for kind, runs in _runs(track.waits).items():
        path = "".join(
            f"M{_LEFT + start * width:.1f} {top}h{length * width:.1f}v{_ROW}h{-length * width:.1f}z"
            for start, length in runs
        )
        parts.append(f'<path class="w-{kind}" d="{path}"/>')
    bars = "".join(
        f"M{_LEFT + index * width:.1f} {top + _ROW}v{-share * _ROW:.1f}h{width:.1f}v{share * _ROW:.1f}z"
        for index, share in enumerate(track.busy)
        if share > 0
    )
    if bars:
        parts.append(f'<path class="busy" d="{bars}"/>')
    return [*parts, "</g>"]


def _runs(waits: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    """Return where each kind of wait begins, and how many intervals it lasts."""
    runs: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for index in range(1, len(waits) + 1):
        if index == len(waits) or waits[index] != waits[start]:
            runs.setdefault(waits[start], []).append((start, index - start))
            start = index
    return runs
