"""Worker processes as the supervisor sees them, and the generations that they belong to."""

from __future__ import annotations

import os
import signal
from bisect import insort
from enum import Enum, auto
from time import monotonic

from echoserver.config import ServerConfig
from echoserver.serving.board import Row
from echoserver.supervisor.channel import Channel, Message

# A process that lives for less than this after it began to serve has died at once.
_SETTLED_SECONDS = 0.3
_FIRST_DELAY = 0.1
# One that could serve is back within a second all the same, whoever kills it; one that can't costs more than it gives.
_LONGEST_DELAY_SERVED, _LONGEST_DELAY = 0.8, 10.0
_TRIES = 5


class State(Enum):
    """How far a worker process has come."""

    STARTING = auto()
    """It loads the handler and whatever else may be refused."""
    PREPARED = auto()
    """It has all it needs, and accepts no peers yet."""
    SERVING = auto()
    RETIRING = auto()
    """It accepts no more, and serves the connections that it has."""
    DRAINING = auto()


class Process:
    """A worker process."""

    def __init__(self, generation: Generation, row: Row, pid: int, channel: Channel) -> None:
        self.generation = generation
        self.row = row
        self.name = process_name(row)
        self.pid = pid
        self.channel = channel
        self.state = State.STARTING
        self.born = monotonic()
        self.served_since: float | None = None
        self.asked = False
        """Whether it has been asked for a report and has not answered."""
        self.report: Message = {}
        """Its counters, as it reported them last."""
        self.stuck: list[str] = []
        self.cut: list[str] = []
        """What it had to cut at its end."""
        self.handler = ""
        """The name of its handler, once it is prepared."""
        self.refusal: Message | None = None
        """Why it can't serve, if it said so."""

    def say(self, word: str, **more: object) -> None:
        """Tell it something. Whether it hears it shows in what it does: a process that has gone is reaped."""
        self.channel.send(do=word, **more)

    def end(self) -> None:
        """Have it end, after its connections have got their replies."""
        if self.state is State.STARTING:
            self.signal(signal.SIGKILL)  # it serves nobody, and may load for long
        else:
            self.say("drain")
        self.state = State.DRAINING

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)  # it has not been reaped, so the number is still its own


class Generation:
    """The processes that serve one configuration.

    Parameters
    ----------
    number:
        Counted from 1.
    config:
        The configuration. Processes that are replaced get the same one, whatever the file says by then.
    size:
        How many processes there are to be.

    """

    def __init__(self, number: int, config: ServerConfig, size: int) -> None:
        self.number = number
        self.config = config
        self.size = size
        self.members: list[Process] = []
        self.due: list[float] = []
        """When to start processes in place of those that have died, the next one first."""
        self._deaths_at_once = 0
        self._never_served = 0

    def facts(self) -> dict[str, int]:
        """Return what the log says of it."""
        return {"generation": self.number, "processes": self.size}

    def all_are(self, state: State) -> bool:
        """Return whether all processes have come so far."""
        return len(self.members) == self.size and all(member.state is state for member in self.members)

    @property
    def comes_up(self) -> bool:
        """Whether there is hope: not where several in a row have died before they served."""
        return self._never_served < _TRIES

    def served(self) -> None:
        """Note that a process has begun to serve."""
        self._never_served = 0

    def replace_later(self, process: Process) -> None:
        """Note when to replace a process that has died.

        At once the first time; later and later where processes die as soon as they have started.
        """
        now = monotonic()
        longest = _LONGEST_DELAY_SERVED
        if process.served_since is None:
            self._never_served += 1
            longest = _LONGEST_DELAY
        if process.served_since is not None and now - process.served_since >= _SETTLED_SECONDS:
            self._deaths_at_once = 0
            delay = 0.0
        else:
            delay = min(_FIRST_DELAY * 2**self._deaths_at_once, longest)
            self._deaths_at_once = min(self._deaths_at_once + 1, _TRIES * 2)
        insort(self.due, now + delay)


def process_name(row: Row) -> str:
    """Return the name of the process that has a row, as logs and ps(1) show it."""
    return f"worker {row.number}"


def cause_of(status: int) -> str:
    """Return how a process ended, from the status that waitpid(2) has returned."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
