"""Which faults connections meet on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoserver.config.declaring import option
from echoserver.config.faults import FaultRules, FaultTicket
from echoserver.config.values import FileName, Whole

if TYPE_CHECKING:
    from echoserver.faults.rules import Rule


@dataclass(frozen=True, kw_only=True)
class Faulting:
    """The options of this group. See `ServerConfig`."""

    fault: tuple[Rule, ...] = option(
        (),
        FaultRules(),
        "A fault that connections meet, such as delay=50ms@10% or reset@byte 1000; can be given more than once.",
        "For tests of clients. `echoserver faults` lists the kinds, and `echoserver faults explain` says what a rule "
        "does.",
    )
    fault_seed: int = option(
        0,
        Whole(0, 2**63 - 1),
        "Seed of everything that the faults draw; 0 draws a seed and logs it.",
        "The same rules and the same seed do the same to the same connections again.",
    )
    fault_file: str = option(
        "",
        FileName(),
        "TOML file with rules of faults and their seed; those of fault come after them.",
        "Long sets of rules are better kept in a file of their own, beside the tests that need them.",
    )
    fault_ticket: str = option(
        "",
        FaultTicket(),
        "Have every connection meet exactly what one connection met, by the ticket in its log line.",
        "It needs no rules and no seed: the ticket has both.",
    )
