"""Why a connection, or the whole server, is as it is: sentences for people. Nothing is kept for this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from echoserver.admin.answers import Kernel, Limit, Row
from echoserver.observe.metrics import WorkerSnapshot


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a connection."""

    row: Row
    kernel: Kernel | None
    limits: Sequence[Limit]
    ending: str
    """Why it was asked to end; empty if it was not."""
    place: str | None
    """Where the thread is that serves it."""
    rate_limited: bool
    workers: WorkerSnapshot | None
    paused_by_fault: bool


def of_connection(facts: Facts) -> list[str]:
    """Return the sentences about one connection."""
    row, kernel = facts.row, facts.kernel
    said = [_by_state(facts) + _end(facts.limits)]
    if facts.ending:
        said.append(f"it has been asked to end, as {facts.ending}")
    if kernel is not None and kernel["retransmits"]:
        said.append(f"the network loses something: {kernel['retransmits']} retransmissions in a row have had no answer")
    if row["faults"]:
        said.append(f"it has met faults that were asked for: {', '.join(row['faults'])}")
    return said


def _by_state(facts: Facts) -> str:
    row, kernel = facts.row, facts.kernel
    peer, still = f"peer {row['peer']}", duration(row["idle"])
    match row["state"]:
        case "opening":
            what = "TLS handshake" if any(limit["ends_as"] == "handshake" for limit in facts.limits) else "PROXY header"
            return f"{peer} has not completed its {what}"
        case "sending":
            return _not_taking(peer, still, kernel)
        case "handling":
            return f"{row['thread'] or 'a thread'} has been in {facts.place or 'the handler'} for {still}"
        case "queued":
            workers = facts.workers
            others = f"; {workers.queue_depth} connections wait, and {workers.busy} workers are busy" if workers else ""
            return f"it has waited for a worker for {still}{others}"
        case "paused":
            cause = "a fault" if facts.paused_by_fault else "its rate limit" if facts.rate_limited else "a fault"
            return f"the server has paused for {cause} since {still}"
        case "lingering":
            return f"it has ended, and what {peer} still sends is received and dropped for up to two seconds"
    if kernel is not None and kernel["unread"]:
        return f"{kernel['unread']:,} B from {peer} wait to be received since {still}"
    return f"{peer} has sent nothing for {still}"


def _not_taking(peer: str, still: str, kernel: Kernel | None) -> str:
    if kernel is None:
        return f"{peer} has taken nothing of its reply for {still}"
    window = kernel["window"]
    told = "" if window is None else f", its window is {window:,}"
    return f"{peer} takes nothing: {kernel['unsent']:,} B unacknowledged for {still}{told}"


def _end(limits: Sequence[Limit]) -> str:
    if not limits:
        return "; no limit will end it"
    nearest = limits[0]
    return f"; ends as {nearest['ends_as']} in {duration(nearest['within'])} ({nearest['name']})"


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of the server."""

    active: int
    most: int
    at_limit: str
    full: bool
    """Whether all places are taken."""
    waiting: int
    """How many peers wait in the kernel's queues."""
    draining: bool
    short_of: str
    """What accepting is short of now, such as EMFILE; empty if nothing."""
    oldest_idle: float | None
    held: Sequence[tuple[str, str, float, str]]
    """Threads that handlers keep: name, where, for how long, and the connection."""
    workers: WorkerSnapshot | None
    count: int
    """How many worker threads there are."""


def of_server(whole: Whole) -> list[str]:
    """Return the sentences about the server: what is wrong, or that nothing is."""
    return list(_wrong(whole)) or [
        f"nothing is wrong: {whole.active:,} of {whole.most:,} connections are open, and nobody waits"
    ]


def _wrong(whole: Whole) -> Iterable[str]:
    if whole.draining:
        yield f"the server drains: {whole.active:,} connections are open, and no peer is accepted"
    if whole.short_of:
        yield f"no peer can be accepted for now: the system says {whole.short_of}; ulimit -n, or fewer connections"
    if whole.full:
        idle = f", the oldest idle one for {duration(whole.oldest_idle)}" if whole.oldest_idle is not None else ""
        fate = f"{whole.waiting:,} peers wait in the kernel" if whole.at_limit == "wait" else "new peers are rejected"
        yield f"{fate}: all {whole.most:,} places are taken{idle}"
    workers = whole.workers
    waiting = workers.queue_depth if workers is not None else 0
    for name, where, seconds, connection in whole.held:
        yield f"{name} has been in {where} for {duration(seconds)} for connection {connection}"
    if waiting and workers is not None:
        help_ = f"--workers {2 * whole.count} or a handler that doesn't block would help"
        yield f"{waiting:,} connections wait for a worker, and {workers.busy} of {whole.count} are busy; {help_}"


def duration(seconds: float) -> str:
    """Return a duration as people say it: in the two largest units, or one decimal below ten seconds."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
