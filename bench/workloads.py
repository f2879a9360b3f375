"""What is measured: a workload is one kind of work that every server does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["load", "churn", "idle", "start"]


@dataclass(frozen=True)
class Traffic:
    """What the clients of a workload do.

    Attributes
    ----------
    connections:
        How many are open at once.
    size:
        Bytes per message.
    pipeline:
        Messages in flight per connection.
    tls:
        Whether the connections are encrypted.
    """

    connections: int = 1
    size: int = 64
    pipeline: int = 1
    tls: bool = False


@dataclass(frozen=True)
class Workload:
    """One kind of work.

    Attributes
    ----------
    name:
        Its name on the command line.
    title:
        Its name in the report.
    kind:
        What is measured: messages over open connections, short connections, memory of idle connections, or
        start-up time.
    traffic:
        What the clients do.
    handler:
        What the server does with the messages.
    reference:
        The workload that this one is compared with, server by server; empty for none.
    max_rounds:
        Further rounds are skipped, since they would show nothing new.
    """

    name: str
    title: str
    kind: Kind = "load"
    traffic: Traffic = Traffic()
    handler: str = "echo"
    reference: str = ""
    max_rounds: int = 1000

    @property
    def unit(self) -> str:
        """The unit of its figures."""
        return {
            "load": "messages per second",
            "churn": "connections per second",
            "idle": "KB of resident memory per connection",
            "start": "milliseconds from process start to first reply",
        }[self.kind]

    @property
    def cpu_unit(self) -> str:
        """The unit of the server's processor time."""
        return "µs of processor time per connection" if self.kind == "churn" else "µs of processor time per message"

    @property
    def more_is_better(self) -> bool:
        """Whether a higher figure is better."""
        return self.kind in ("load", "churn")


_BULK = Traffic(4, 65536)
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("1x64", "1 connection × 64 B"),
        Workload("16x64", "16 connections × 64 B", traffic=Traffic(16)),
        Workload("64x64", "64 connections × 64 B", traffic=Traffic(64)),
        Workload("256x64", "256 connections × 64 B", traffic=Traffic(256)),
        Workload("64x64x16", "64 connections × 64 B, 16 in flight", traffic=Traffic(64, pipeline=16)),
        Workload("4x64k", "4 connections × 64 KiB", traffic=_BULK),
        Workload("4x64kx4", "4 connections × 64 KiB, 4 in flight", traffic=Traffic(4, 65536, pipeline=4)),
        Workload("tls-64x64", "TLS, 64 connections × 64 B", traffic=Traffic(64, tls=True)),
        Workload("tls-4x64k", "TLS, 4 connections × 64 KiB", traffic=Traffic(4, 65536, tls=True)),
        Workload("upper", "upper, 16 connections × 64 B", traffic=Traffic(16), handler="upper", reference="16x64"),
        Workload("upper-64k", "upper, 4 connections × 64 KiB", traffic=_BULK, handler="upper", reference="4x64k"),
        Workload("churn", "Connect, exchange 64 B, close; 16 at once", "churn", Traffic(16)),
        Workload("idle-5000", "5,000 idle connections", "idle", Traffic(5000), max_rounds=2),
        Workload("start", "Start-up", "start"),
    )
}
