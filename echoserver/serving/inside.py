"""What the parts of a running server know, for whoever observes it. Reading it changes nothing."""

from __future__ import annotations

from echoserver.net.listener import Listener
from echoserver.net.listeners import Listeners
from echoserver.observe.histogram import Histogram
from echoserver.serving.accepting import Accepting
from echoserver.serving.admission import Admission
from echoserver.serving.connection import Connection
from echoserver.serving.janitor import Janitor
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.modes import Mode


class Inside:
    """The parts of one server. All methods may be called from any thread."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        listeners: Listeners,
        admission: Admission,
        accepting: Accepting,
        mode: Mode,
        janitor: Janitor,
    ) -> None:
        self._lifecycle = lifecycle
        self._listeners = listeners
        self._admission = admission
        self._accepting = accepting
        self._mode = mode
        self._janitor = janitor

    @property
    def handler(self) -> str:
        """The name of the handler of new connections."""
        return self._lifecycle.recipe.factory.name

    @property
    def listeners(self) -> list[Listener]:
        """What the server listens on."""
        return list(self._listeners)

    @property
    def is_stopping(self) -> bool:
        """Whether it accepts no more."""
        return self._accepting.acceptor.stopping

    @property
    def is_full(self) -> bool:
        """Whether new peers wait for a place."""
        return self._admission.place_wanted

    @property
    def short_of(self) -> str:
        """What accepting is short of now, as errno(3) names it; empty if nothing."""
        return self._accepting.acceptor.short_of

    @property
    def worker_count(self) -> int:
        """How many worker threads there are."""
        return self._mode.worker_count

    @property
    def fault_rules(self) -> tuple[list[str], int | None]:
        """The rules for the faults of new connections, and the seed; `None` without rules."""
        faults = self._lifecycle.recipe.faults
        return ([], None) if faults is None else (faults.rules, faults.seed)

    def keep_durations(self) -> Histogram:
        """Count from now on how long connections are open, and return where."""
        durations = self._lifecycle.durations
        if durations is None:
            durations = self._lifecycle.durations = Histogram()
        return durations

    def still(self, connection: Connection) -> float:
        """Return for how many seconds nothing has moved on a connection."""
        return self._janitor.still(connection)
