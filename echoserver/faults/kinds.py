"""The kinds of fault: what each one does, and how its parameters are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from echoserver.faults.delays import parse_delays
from echoserver.faults.parameters import Parameters, parse_corrupted, parse_pieces, parse_stalled, parse_throttled

ENDINGS = frozenset({"reset", "close", "halfclose"})
"""After these the server sends nothing more."""
CUTS = ENDINGS | {"stall"}
"""These happen once in a connection: at a place, or by themselves at an age."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    summary: str
    """What it does, for the list of kinds."""
    example: str
    parse: Callable[[str], Parameters] | None = None
    """What reads its parameters; `None` if it takes none."""
    required: bool = False
    """Whether it must have parameters."""


KINDS = {
    "delay": Kind("wait before each reply", "delay=50ms:10,200ms:2", parse_delays, required=True),
    "throttle": Kind("send at most so many bytes a second", "throttle=64kB/s", parse_throttled, required=True),
    "slice": Kind("send in pieces, with a gap between two", "slice=100..200,5ms", parse_pieces, required=True),
    "stall": Kind("take and send nothing, for a time or for ever", "stall=5s@byte 64kB", parse_stalled),
    "reset": Kind("end with an RST", "reset@10%"),
    "close": Kind("end in the orderly way, early", "close@msg 5"),
    "halfclose": Kind("end the server's side, and go on receiving", "halfclose@after 2s"),
    "corrupt": Kind("change one byte, or a share of the bytes", "corrupt=0.1%", parse_corrupted),
    "drop": Kind("never send a reply", "drop@1%/msg"),
    "duplicate": Kind("send a reply twice", "duplicate@msg 2"),
    "refuse": Kind("close at accept", "refuse@#100"),
}
