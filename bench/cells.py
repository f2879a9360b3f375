"""What is measured: one cell is one kind of work, done by every server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["load", "churn", "idle", "start"]


@dataclass(frozen=True)
class Cell:
    """One kind of work.

    Attributes:
        name: as it is named on the command line.
        title: for the reader.
        kind: how it is measured: messages over open connections, connections one after another, memory of idle ones,
            or starting.
        connections: open at once.
        size: bytes of a message.
        pipeline: messages in flight on a connection.
        handler: what the server does with them.
        beside: the cell whose figures these are compared with, server by server; empty: none.
        rounds: at most so many, since more would say the same.
    """

    name: str
    title: str
    kind: Kind = "load"
    connections: int = 1
    size: int = 64
    pipeline: int = 1
    handler: str = "echo"
    beside: str = ""
    rounds: int = 1000

    @property
    def unit(self) -> str:
        """What its figures count."""
        return {
            "load": "messages a second",
            "churn": "connections a second",
            "idle": "KB of resident memory per connection",
            "start": "ms from process start to the first reply",
        }[self.kind]

    @property
    def more_is_better(self) -> bool:
        """Whether the highest figure is the best."""
        return self.kind in ("load", "churn")


CELLS = {
    cell.name: cell
    for cell in (
        Cell("1x64", "1 connection × 64 B"),
        Cell("16x64", "16 connections × 64 B", connections=16),
        Cell("64x64", "64 connections × 64 B", connections=64),
        Cell("256x64", "256 connections × 64 B", connections=256),
        Cell("64x64x16", "64 connections × 64 B, 16 in flight", connections=64, pipeline=16),
        Cell("4x64k", "4 connections × 64 KiB", connections=4, size=65536),
        Cell("4x64kx4", "4 connections × 64 KiB, 4 in flight", connections=4, size=65536, pipeline=4),
        Cell("upper", "upper, 16 connections × 64 B", connections=16, handler="upper", beside="16x64"),
        Cell("upper-64k", "upper, 4 connections × 64 KiB", connections=4, size=65536, handler="upper", beside="4x64k"),
        Cell("churn", "Connect, exchange 64 B, close; 16 at once", kind="churn", connections=16),
        Cell("idle-5000", "5,000 idle connections", kind="idle", connections=5000, rounds=2),
        Cell("idle-9000", "9,000 idle connections", kind="idle", connections=9000, rounds=1),
        Cell("start", "Start-up", kind="start"),
    )
}
