"""Metrics for Prometheus and its kind: what the counters say, in OpenMetrics or the older text format."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from echoserver.admin.answers import Snapshot
from echoserver.admin.control import Control

_COUNTERS = {
    "accepted": ("connections_accepted", "Connections accepted and served."),
    "rejected": ("connections_rejected", "Peers closed at once because a limit was reached."),
    "held": ("connections_held", "Times a limit made new peers wait in the kernel's queue."),
    "bytes_in": ("received_bytes", "Bytes received from peers."),
    "bytes_out": ("sent_bytes", "Bytes handed to the kernel for peers."),
    "replies": ("replies", "Replies sent in full."),
    "handler_errors": ("handler_errors", "Connections that a handler ended by raising."),
    "handlers_stuck": ("handlers_stuck", "Handlers that kept their thread for longer than the handler timeout."),
    "reloads": ("reloads", "Times the configuration or certificates were read again."),
    "failed_reloads": ("failed_reloads", "Times they were refused."),
}
_WORKER_COUNTERS = {
    "inline_events": ("worker_inline_events", "Ready events that the poller served itself."),
    "queued_events": ("worker_queued_events", "Ready events that a worker took from the queue."),
    "queued_seconds": ("worker_queued_seconds", "The total time that these waited in the queue."),
    "queue_full": ("worker_queue_full", "Times the poller had to wait for a free place in the queue."),
    "replaced": ("workers_replaced", "Workers that died and were replaced."),
}
_WORKER_GAUGES = {
    "queue_depth": ("worker_queue_depth", "Connections that wait for a worker now."),
    "queue_high_water": ("worker_queue_high_water", "The most that have waited so far."),
    "busy": ("workers_busy", "Workers that are serving a connection now."),
}


class ServerCollector(Collector):
    """Makes metrics of one snapshot for each scrape, so `accepted` is `active` plus all of `closed` in each.

    Parameters
    ----------
    control:
        Gives the snapshot.

    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        snapshot = self._control.snapshot()
        counters = snapshot["counters"]
        yield InfoMetricFamily(
            "echoserver_build",
            "What is running.",
            {name: snapshot[name] for name in ("version", "mode", "handler")},
        )
        yield GaugeMetricFamily("echoserver_uptime_seconds", "Since the server has started.", snapshot["uptime"])
        yield GaugeMetricFamily("echoserver_ready", "1 if peers are accepted.", float(snapshot["state"] == "serving"))
        yield GaugeMetricFamily(
            "echoserver_connections_limit", "How many may be open.", snapshot["limits"]["max_connections"]
        )
        yield GaugeMetricFamily("echoserver_connections_active", "Connections that are open.", counters["active"])
        closed = CounterMetricFamily(
            "echoserver_connections_closed", "Connections that have ended, by reason.", labels=["reason"]
        )
        for reason, count in counters["closed"].items():
            closed.add_metric([reason], count)
        yield closed
        yield _durations(snapshot)
        yield from _counters(counters, _COUNTERS)
        if (faults := counters.get("faults")) is not None:
            family = CounterMetricFamily("echoserver_faults", "Faults that have happened, by kind.", labels=["fault"])
            for kind, count in faults.items():
                family.add_metric([kind], count)
            yield family
        if (workers := counters.get("workers")) is not None:
            yield from _counters(workers, _WORKER_COUNTERS)
            for name, (metric, text) in _WORKER_GAUGES.items():
                yield GaugeMetricFamily(f"echoserver_{metric}", text, workers[name])
        yield from _processes(snapshot)


def _counters(values: dict[str, float], table: dict[str, tuple[str, str]]) -> Iterator[Metric]:
    for name, (metric, text) in table.items():
        yield CounterMetricFamily(f"echoserver_{metric}", text, values[name])


def _durations(snapshot: Snapshot) -> Metric:
    durations = snapshot["durations"]
    ends = [*(format(bound, "g") for bound in durations["bounds"]), "+Inf"]
    return HistogramMetricFamily(
        "echoserver_connection_duration_seconds",
        "How long connections were open that have ended.",
        buckets=list(zip(ends, accumulate(durations["counts"]), strict=True)),
        sum_value=durations["sum"],
    )


def _processes(snapshot: Snapshot) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "echoserver_process_connections_active", "Connections that are open, by process.", labels=["process"]
    )
    for process in snapshot["processes"]:
        active.add_metric([process["name"] or "server"], process["active"])
    yield active
    waiting = GaugeMetricFamily(
        "echoserver_peers_waiting", "Peers in the kernel's queue, by endpoint.", labels=["endpoint"]
    )
    for endpoint in snapshot["endpoints"]:
        if endpoint["waiting"] is not None:
            waiting.add_metric([endpoint["endpoint"]], endpoint["waiting"])
    yield waiting


class Exposition:
    """The metrics of one server, as text.

    Parameters
    ----------
    control:
        Gives the snapshots.

    """

    def __init__(self, control: Control) -> None:
        # A registry of our own: the default one adds this process's, and an embedding program may have others in it.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ServerCollector(control))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, in the format that the Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
