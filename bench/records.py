"""Every sample as JSON, for scripts."""

from __future__ import annotations

from dataclasses import asdict

from bench.campaign import Campaign
from bench.measure import Sample
from bench.summary import Entry, summarise

FORMAT = "echoserver-benchmark/1"


def to_json(campaign: Campaign, machine: dict[str, str], command: str) -> dict[str, object]:
    """Return the samples of all rounds, and the figures made of them. Latencies are in seconds."""
    settings = campaign.settings
    return {
        "format": FORMAT,
        "command": command,
        "machine": machine,
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "cells": [
            {
                **asdict(cell),
                "unit": cell.unit,
                "base": settings.base_of(cell),
                "left_out": campaign.left_out.get(cell.name),
                "servers": {
                    entry.server: _entry(entry, campaign.samples[cell.name][entry.server])
                    for entry in summarise(campaign, cell)
                },
            }
            for cell in settings.cells
        ],
    }


def _entry(entry: Entry, samples: list[Sample]) -> dict[str, object]:
    return {
        "median": entry.value,
        "min": entry.low,
        "max": entry.high,
        "ratio": entry.ratio,
        "beside": entry.beside,
        "latency": {f"p{percentile:g}": seconds for percentile, seconds in entry.latency.items()},
        "generator_bound": entry.bound,
        "samples": [asdict(sample) for sample in samples],
    }
