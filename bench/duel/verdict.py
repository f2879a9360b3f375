"""What a set of bouts says, in one or two sentences."""

from __future__ import annotations

from collections.abc import Sequence

from bench.duel.bout import Bout
from bench.duel.work import MODELS
from echoclient.load.units import count_text, time_text

# Closer than this, throughputs are taken to be the same: runs of a few seconds differ by as much.
_LEVEL = 0.9
_CLEARLY = 1.25


def level_with_best(bouts: Sequence[Bout]) -> list[Bout]:
    """Return the bouts with the highest throughput, or as good as that, best first."""
    ranked = sorted(bouts, key=lambda bout: -bout.rate)
    return [bout for bout in ranked if bout.rate >= _LEVEL * ranked[0].rate]


def verdict(bouts: Sequence[Bout]) -> str:
    """Say which model wins, by how much, and what decides between those that are level."""
    best = level_with_best(bouts)
    others = sorted((bout for bout in bouts if bout not in best), key=lambda bout: -bout.rate)
    rate = f"{count_text(best[0].rate)} messages a second"
    if len(best) == 1:
        text = f"{_name(best[0])} wins with {rate}"
    elif others:
        text = f"{_names(best)} win with about {rate}"
    else:
        text = f"All answer about {rate}"
    if others:
        text += ": " + " and ".join(f"{_times(best[0].rate / bout.rate)} {_name(bout)}" for bout in others)
    return f"{text}.{_what_decides(best)}"


def _what_decides(level: Sequence[Bout]) -> str:
    """Compare the tails of those that answer as many, then their processor time; say nothing where these are close."""
    if len(level) < 2:
        return ""
    by_tail = sorted(level, key=lambda bout: bout.percentiles[99.0])
    if by_tail[-1].percentiles[99.0] >= _CLEARLY * by_tail[0].percentiles[99.0]:
        tails = ", ".join(f"{time_text(bout.percentiles[99.0])} with {_name(bout)}" for bout in by_tail)
        return f" Their slowest replies differ: p99 is {tails}."
    by_cpu = sorted(level, key=lambda bout: bout.cpu)
    if by_cpu[-1].cpu >= _CLEARLY * by_cpu[0].cpu:
        costs = ", ".join(f"{time_text(bout.cpu)} with {_name(bout)}" for bout in by_cpu)
        return f" A message costs them {costs} of processor time."
    return ""


def _name(bout: Bout) -> str:
    return f"“{MODELS[bout.model].title}”"


def _names(bouts: Sequence[Bout]) -> str:
    return " and ".join(map(_name, bouts))


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{ratio:.0f} times"
