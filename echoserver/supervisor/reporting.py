"""What the supervisor logs, and the reports of the processes that it needs for it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from echoserver.clock import Deadline
from echoserver.config import ServerConfig
from echoserver.observe.direct import DirectLog
from echoserver.observe.logger import Logger
from echoserver.supervisor.channel import Message
from echoserver.supervisor.generation import Process, State
from echoserver.supervisor.totals import final, summed

_STANDARD_ERROR = 2
# How long a report may take. A process that has been stopped gives none, and then its last one counts.
_REPORT_SECONDS = 1.0


class Reporting:
    """Asks all processes for their counters, and sums them up when all have answered.

    Parameters
    ----------
    config:
        What to log, and how.
    gone:
        The counters of processes that have ended, and of the supervisor itself.

    """

    def __init__(self, config: ServerConfig, gone: Message) -> None:
        self.gone = summed([{"reloads": 0, "failed_reloads": 0, "deaths": {}}, gone])
        self._purposes: set[str] = set()
        self._due = Deadline(0)
        self._stats_due = Deadline(0)
        self._dropped = 0
        self.configure(config)

    def configure(self, config: ServerConfig) -> None:
        """Log as a new configuration says."""
        self._log = DirectLog(_STANDARD_ERROR, config.log_level, config.log_format, "supervisor")
        self._interval = config.stats_interval
        self._stats_due = Deadline(self._interval)

    @property
    def log(self) -> Logger:
        """The supervisor's own log."""
        return self._log.logger

    def timeout(self) -> float:
        """Return after how many seconds to call `look`; `math.inf` if nothing is due."""
        return min(self._stats_due.remaining(), self._due.remaining() if self._purposes else math.inf)

    def ask(self, purpose: str, processes: Iterable[Process]) -> None:
        """Ask the processes for their counters, for `stats` or for the `watchdog`."""
        if not self._purposes:
            self._due = Deadline(_REPORT_SECONDS)
        self._purposes.add(purpose)
        for process in processes:
            # One that starts hears nothing yet.
            if process.state is not State.STARTING and (not process.asked or purpose == "watchdog"):
                process.asked = True
                process.say("report", watchdog=purpose == "watchdog")

    def answered(self, process: Process, message: Message) -> None:
        """Keep what a process has reported."""
        process.report, process.stuck, process.asked = message["report"], message["stuck"], False

    def look(self, processes: Iterable[Process]) -> set[str]:
        """Return what was asked for and is complete by now; ask for the statistics when they are due."""
        processes = list(processes)
        if self._stats_due.expired:
            self._stats_due = Deadline(self._interval)
            self.ask("stats", processes)
        if not self._purposes or (any(process.asked for process in processes) and not self._due.expired):
            return set()
        done, self._purposes = self._purposes, set()
        for process in processes:
            if process.asked:
                process.asked, process.stuck = False, ["gives no answer"]
        return done

    def stats(self, event: str, processes: Iterable[Process], **more: object) -> None:
        """Log the counters of all processes, those that have ended included."""
        processes = list(processes)
        counters = summed([self.gone, *(process.report for process in processes)])
        counters["log_dropped"] = counters.get("log_dropped", 0) + self._log.dropped
        self.log.info(event, **more, processes=len(processes), **counters)

    def count(self, name: str) -> None:
        """Count something that concerns all processes and happens in none of them: `reloads` or `failed_reloads`."""
        self.gone = summed([self.gone, {name: 1}])

    def count_death(self, cause: str) -> None:
        """Count a process that has ended although nobody had ended it, or with connections that nobody had ended."""
        self.gone = summed([self.gone, {"deaths": {cause: 1}}])

    def bury(self, process: Process, kept: Message) -> int:
        """Count what a process that has ended had counted; return how many connections were lost with it."""
        last = final(process.report, kept)
        self.gone = summed([self.gone, last])
        return int(last["closed"]["lost"])
