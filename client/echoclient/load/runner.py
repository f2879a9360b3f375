"""A whole run: find the server, let worker processes put load on it, and merge what they measured."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import platform
import resource
import socket
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from echoclient import __version__
from echoclient.durations import Deadline
from echoclient.errors import ClientError
from echoclient.load.faults import FaultLog
from echoclient.load.latency import Latency
from echoclient.load.plan import Plan, PlanError
from echoclient.load.recorder import Timeline
from echoclient.load.result import DISTRIBUTIONS, Process, Result
from echoclient.load.supervisor import Supervisor
from echoclient.load.worker import OTHER_FILES
from echoclient.session import Session, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.progress import Snapshot

# Seconds to wait until the server has closed the first, empty connection.
_PROBE_ENDS_WITHIN = 1.0


def run(
    plan: Plan,
    *,
    progress: Callable[[Snapshot], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Carry out a plan in processes of its own, and wait for the result.

    Ctrl-C in the main thread ends the run early; the result then says so, and has what was measured until then.

    Args:
        plan: what to do.
        progress: called twice a second with the state of the run.
        say: called with one line that says what the call waits for before the run.

    Raises:
        ClientError: the server can't be reached, or a process can't be started.
        PlanError: the limits of this machine don't allow the plan.
    """
    _check_limits(plan)
    family, address = _find(plan, say)
    _check_sources(plan, family)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.ExitStack() as stack:
        supervisor = Supervisor(plan, progress)
        stack.callback(supervisor.end)
        for index in range(plan.processes):
            supervisor.start(index, family, address)
        supervisor.follow()
    return _merge(plan, started, supervisor)


def _check_limits(plan: Plan) -> None:
    needed = max(plan.share(index).connections for index in range(plan.processes)) + OTHER_FILES
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and needed > most:
        raise PlanError(
            f"{plan.connections} connections need {needed} open files in a process, and the limit is {most}: "
            "raise it (ulimit -Hn), or use fewer connections or more processes"
        )


def _find(plan: Plan, say: Callable[[str], None] | None) -> tuple[int, tuple[Any, ...] | str]:
    """Wait for the server as the plan says; return the address family and the address that answered."""
    with connect(plan.target, timeout=plan.timeout, wait=plan.wait, say=say) as session:
        # Of a unix socket, getpeername(2) returns the name that it was bound to, and it may have been renamed since.
        found = session.socket.family, plan.target.path or session.socket.getpeername()
        # Let the server close this connection, so that it does not count together with those of the load.
        session.half_close()
        session.socket.settimeout(_PROBE_ENDS_WITHIN)
        try:
            _hear(session)
        except ClientError as error:
            if error.final:  # the server has refused the client's certificate
                raise
    return found


def _hear(session: Session) -> None:
    """Receive once."""
    deadline = Deadline(_PROBE_ENDS_WITHIN)
    while not deadline.passed():
        try:
            session.receive()
        except BlockingIOError:  # over TLS, a record without data
            continue
        return


def _check_sources(plan: Plan, family: int) -> None:
    for source in plan.sources:
        address = ipaddress.ip_address(source)
        mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
        if mapped or (family == socket.AF_INET6) != (address.version == 6):
            raise PlanError(f"source {source}: must be of the server's address family")
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.bind((source, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise PlanError(f"source {source}: must be an address of this machine") from None
            raise PlanError(f"source {source}: can't be used: {(error.strerror or str(error)).lower()}") from None


def _merge(plan: Plan, started: str, supervisor: Supervisor) -> Result:
    result = Result(plan, started, _environment(), interrupted=supervisor.interrupted)
    buckets: dict[str, Counter[int]] = {name: Counter() for name in DISTRIBUTIONS}
    for worker in supervisor.workers:
        if worker.failure:
            result.failures.append(worker.failure)
        if (part := worker.result) is None:
            continue
        if part["given_up"]:
            result.failures.append(f"load process {worker.index}: {part['given_up']}")
        result.elapsed = max(result.elapsed, part["elapsed"])
        result.answered += part["answered"]
        result.lost += part["lost"]
        result.unsent += part["unsent"]
        result.payload += part["payload"]
        for name, counts in part["buckets"].items():
            for bucket, count in counts:
                buckets[name][bucket] += count
        timeline = Timeline(part["width"], [Counter(dict(cells)) for cells in part["intervals"]], part["seconds"])
        if result.processes:
            result.timeline.merge(timeline)
        else:
            result.timeline = timeline
        result.faults.merge(FaultLog.from_json(part["faults"]))
        result.processes.append(Process(**part["usage"]))
    for name in DISTRIBUTIONS:
        setattr(result, name, Latency.of(buckets[name]))
    return result


def _environment() -> dict[str, str]:
    return {
        "echoclient": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": str(os.cpu_count()),
    }
