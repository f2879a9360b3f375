"""What is logged, and how."""

from __future__ import annotations

from dataclasses import dataclass

from echoserver.config.declaring import option
from echoserver.config.values import Choice, Duration


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Reporting:
    """The options of this group. See `ServerConfig`."""

    log_level: str = option(
        "info",
        Choice("debug", "info", "warning", "error"),
        "The lowest level of log lines to print.",
        "debug includes connections that send nothing, such as health probes.",
    )
    log_format: str = option(
        "auto",
        Choice("auto", "console", "json"),
        "Format of log lines; auto is console on a terminal and JSON elsewhere.",
        "A log that doesn't go to a terminal is usually read by programs.",
        fixed=True,
    )
    stats_interval: float = option(
        0.0,
        Duration(),
        "How often to log the counters; 0 is off.",
        "Off, because SIGUSR1 logs them on demand and the last log line always includes them.",
    )
