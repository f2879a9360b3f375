"""The results and every sample as JSON, for scripts."""

from __future__ import annotations

from dataclasses import asdict

from bench.benchmark import Benchmark
from bench.sample import Sample
from bench.summary import Result, summarise

FORMAT = "echoserver-benchmark/3"


def to_json(benchmark: Benchmark, machine: dict[str, str], command: str) -> dict[str, object]:
    """Return the samples of all rounds and the figures computed from them. Latencies are in seconds."""
    settings = benchmark.settings
    return {
        "format": FORMAT,
        "command": command,
        "machine": machine,
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "workloads": [
            {
                **asdict(workload),
                "unit": workload.unit,
                "baseline": settings.baseline_of(workload),
                "skipped": benchmark.skipped.get(workload.name),
                "servers": {
                    result.server: _server(result, benchmark.samples[workload.name][result.server])
                    for result in summarise(benchmark, workload)
                },
            }
            for workload in settings.workloads
        ],
    }


def _server(result: Result, samples: list[Sample]) -> dict[str, object]:
    return {
        "figures": asdict(result.figures) if result.figures else None,
        "cpu_us": asdict(result.cpu) if result.cpu else None,
        "reference_ratio": result.reference_ratio,
        "latency": {f"p{percentile:g}": seconds for percentile, seconds in result.latency.items()},
        "generator_bound": result.generator_bound,
        "samples": [asdict(sample) for sample in samples],
    }
